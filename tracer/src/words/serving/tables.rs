//! Names of functions that serve others. Extend them here: a name must tell nothing about who wants the memory.

/// Starts of names of functions that are all of one allocator, and its name.
pub const FAMILIES: [(&str, &str); 7] = [
    ("je_", "jemalloc"),
    ("_rjem_", "jemalloc"),
    ("mi_", "mimalloc"),
    ("_mi_", "mimalloc"),
    ("tcmalloc::", "tcmalloc"),
    ("tc_new", "tcmalloc"),
    ("tc_malloc", "tcmalloc"),
];

/// Functions in C that hand calls on to an allocator: of the C libraries, GLib, gnulib, redis, PostgreSQL, nginx, APR,
/// OpenSSL, SQLite, Ruby, PHP, Perl, Lua, libuv and FFmpeg.
#[rustfmt::skip]
pub const WRAPPERS: &[&str] = &[
    "malloc", "calloc", "realloc", "reallocarray", "memalign", "posix_memalign", "aligned_alloc", "valloc", "pvalloc",
    "__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_memalign", "__GI___libc_malloc", "_int_malloc",
    "_int_realloc", "_int_memalign", "_mid_memalign", "sysmalloc", "__libc_malloc_impl", "default_malloc",
    "g_malloc", "g_malloc0", "g_realloc", "g_malloc_n", "g_malloc0_n", "g_realloc_n", "g_try_malloc", "g_try_malloc0",
    "g_try_realloc", "g_try_malloc_n", "g_try_malloc0_n", "g_try_realloc_n", "g_slice_alloc", "g_slice_alloc0",
    "xmalloc", "xmalloc0", "xcalloc", "xzalloc", "xrealloc", "xreallocarray", "xnmalloc", "xnrealloc", "x2realloc",
    "x2nrealloc", "xmallocz", "do_xmalloc", "do_xmallocz", "xmallocarray", "ximalloc", "xizalloc", "xirealloc",
    "zmalloc", "zcalloc", "zcalloc_num", "zrealloc", "ztrymalloc", "ztrycalloc", "ztryrealloc", "zmalloc_usable",
    "zcalloc_usable", "zrealloc_usable", "ztrymalloc_usable", "ztrycalloc_usable", "ztryrealloc_usable",
    "ztrymalloc_usable_internal", "ztrycalloc_usable_internal", "ztryrealloc_usable_internal", "zmalloc_no_tcache",
    "valkey_malloc", "valkey_calloc", "valkey_realloc", "s_malloc", "s_realloc", "hi_malloc", "hi_calloc", "hi_realloc",
    "palloc", "palloc0", "palloc_extended", "palloc_aligned", "repalloc", "repalloc0", "repalloc_extended",
    "repalloc_huge", "pg_malloc", "pg_malloc0", "pg_malloc_internal", "pg_malloc_extended", "pg_realloc",
    "MemoryContextAlloc", "MemoryContextAllocZero", "MemoryContextAllocZeroAligned", "MemoryContextAllocExtended",
    "MemoryContextAllocAligned", "MemoryContextAllocHuge", "AllocSetAlloc", "AllocSetAllocLarge",
    "AllocSetAllocFromNewBlock", "AllocSetAllocChunkFromBlock", "AllocSetRealloc", "GenerationAlloc",
    "GenerationAllocLarge", "GenerationAllocFromNewBlock", "GenerationRealloc", "SlabAlloc", "SlabAllocFromNewBlock",
    "BumpAlloc", "BumpAllocLarge", "BumpAllocFromNewBlock",
    "ngx_alloc", "ngx_calloc", "ngx_memalign", "ngx_palloc", "ngx_pcalloc", "ngx_pnalloc", "ngx_palloc_block",
    "ngx_palloc_large", "ngx_palloc_small", "ngx_pmemalign",
    "apr_palloc", "apr_pcalloc", "allocator_alloc", "apr_allocator_alloc",
    "CRYPTO_malloc", "CRYPTO_zalloc", "CRYPTO_calloc", "CRYPTO_realloc", "CRYPTO_clear_realloc", "CRYPTO_malloc_array",
    "CRYPTO_aligned_alloc", "OPENSSL_malloc", "OPENSSL_zalloc", "OPENSSL_realloc",
    "sqlite3Malloc", "sqlite3MallocZero", "sqlite3Realloc", "sqlite3_malloc", "sqlite3_malloc64", "sqlite3_realloc",
    "sqlite3_realloc64", "sqlite3MemMalloc", "sqlite3MemRealloc", "sqlite3DbMallocRaw", "sqlite3DbMallocRawNN",
    "sqlite3DbMallocZero", "sqlite3DbRealloc", "dbMallocRawFinish", "mallocWithAlarm",
    "ruby_xmalloc", "ruby_xmalloc2", "ruby_xcalloc", "ruby_xrealloc", "ruby_xrealloc2", "objspace_xmalloc0",
    "objspace_xcalloc", "objspace_xrealloc", "rb_xmalloc_mul_add", "rb_gc_impl_malloc", "rb_gc_impl_calloc",
    "rb_gc_impl_realloc",
    "_emalloc", "_emalloc_large", "_emalloc_huge", "_ecalloc", "_erealloc", "_erealloc2", "_safe_emalloc",
    "_safe_erealloc", "__zend_malloc", "__zend_calloc", "__zend_realloc", "zend_mm_alloc_huge", "zend_mm_alloc_large",
    "Perl_safesysmalloc", "Perl_safesyscalloc", "Perl_safesysrealloc",
    "l_alloc", "luaM_malloc_", "luaM_realloc_", "luaM_saferealloc_", "luaM_growaux_",
    "uv__malloc", "uv__calloc", "uv__realloc",
    "av_malloc", "av_mallocz", "av_calloc", "av_realloc", "av_realloc_array", "av_malloc_array",
];

/// CPython's own allocators, and what makes an object of a type without a say in which.
#[rustfmt::skip]
pub const PYTHON_ALLOCATION: &[&str] = &[
    "PyMem_Malloc", "PyMem_Calloc", "PyMem_Realloc", "PyMem_RawMalloc", "PyMem_RawCalloc", "PyMem_RawRealloc",
    "_PyMem_RawMalloc", "_PyMem_RawCalloc", "_PyMem_RawRealloc", "_PyMem_MiMalloc", "_PyMem_MiCalloc",
    "_PyMem_MiRealloc", "_PyMem_ArenaAlloc", "_PyMem_DebugMalloc", "_PyMem_DebugCalloc", "_PyMem_DebugRealloc",
    "_PyMem_DebugRawAlloc", "PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "_PyObject_Malloc",
    "_PyObject_Calloc", "_PyObject_Realloc", "_PyObject_MiMalloc", "_PyObject_MiCalloc", "_PyObject_MiRealloc",
    "_PyObject_MallocWithType", "pymalloc_alloc", "pymalloc_realloc", "allocate_from_new_pool", "new_arena",
    "_PyObject_GC_Alloc", "_PyObject_GC_Malloc", "_PyObject_GC_New", "_PyObject_GC_NewVar", "_PyObject_GC_Resize",
    "gc_alloc", "PyType_GenericAlloc", "_PyType_AllocNoTrack", "_PyObject_New", "_PyObject_NewVar",
];

/// CPython's loop, and what leads from one call in it to the next.
#[rustfmt::skip]
pub const PYTHON: &[&str] = &[
    "_PyEval_EvalFrameDefault", "_PyEval_EvalFrame", "_PyEval_EvalFrame_AOT_Interpreter", "_PyEval_Vector",
    "_PyEval_EvalCode", "_PyEval_EvalCodeWithName", "PyEval_EvalCode", "PyEval_EvalCodeEx", "function_code_fastcall",
    "_PyFunction_Vectorcall", "_PyFunction_FastCallDict", "_PyObject_Call", "PyObject_Call", "PyObject_CallObject",
    "PyObject_CallNoArgs", "PyObject_CallOneArg", "PyObject_CallFunction", "PyObject_CallFunctionObjArgs",
    "_PyObject_CallFunctionVa", "_PyObject_CallMethod", "PyObject_CallMethod", "PyObject_CallMethodObjArgs",
    "callmethod", "object_vacall", "PyObject_Vectorcall", "PyObject_VectorcallMethod", "PyObject_VectorcallDict",
    "_PyObject_Vectorcall", "_PyObject_VectorcallTstate", "_PyObject_MakeTpCall", "_PyObject_FastCallDict",
    "_PyObject_FastCallDictTstate", "_PyObject_Call_Prepend", "_PyVectorcall_Call", "PyVectorcall_Call",
    "vectorcall_method", "vectorcall_maybe", "vectorcall_unbound", "call_unbound_noarg", "cfunction_call",
    "method_call", "slot_tp_call", "slot_tp_init", "type_call", "do_call_core", "call_function",
    "run_eval_code_obj", "run_mod", "pyrun_file", "_PyRun_SimpleFileObject", "_PyRun_AnyFileObject", "pymain_run_file",
    "pymain_run_file_obj", "pymain_run_module", "pymain_run_command", "pymain_run_python", "pymain_main", "Py_RunMain",
    "Py_BytesMain",
];

/// Starts of further names of that kind.
pub const PYTHON_STARTS: [&str; 2] = ["cfunction_vectorcall_", "method_vectorcall"];

/// V8's interpreter and what leads into it and out of it, after `Builtins_`. Other builtins are functions of the
/// language.
#[rustfmt::skip]
pub const V8_BUILTINS: [&str; 13] = [
    "InterpreterEntryTrampoline", "InterpreterPushArgs", "JSEntry", "JSConstructEntry", "JSRunMicrotasksEntry",
    "ArgumentsAdaptorTrampoline", "AdaptorWithBuiltinExitFrame", "CallFunction_", "Call_Receiver", "HandleApiCall",
    "CallApiCallback", "CEntry_", "RunMicrotasks",
];

/// The same in C++.
#[rustfmt::skip]
pub const V8: [&str; 13] = [
    "v8::internal::::Invoke", "v8::internal::Invoke", "v8::internal::Execution::Call",
    "v8::internal::Execution::TryRunMicrotasks", "v8::Function::Call", "v8::internal::Builtin_HandleApiCall",
    "v8::internal::FunctionCallbackArguments::Call", "v8::internal::MicrotaskQueue::RunMicrotasks",
    "v8::internal::MicrotaskQueue::PerformCheckpoint", "v8::internal::Builtins::InvokeApiFunction",
    "node::InternalMakeCallback", "node::MakeCallback", "node::AsyncWrap::MakeCallback",
];

/// Functions of C++ containers and allocators that get memory for a caller: the class, and starts of their names.
#[rustfmt::skip]
pub const CPP: [(&str, &[&str]); 18] = [
    ("std::allocator", &["allocate"]),
    ("std::__new_allocator", &["allocate"]),
    ("std::allocator_traits", &["allocate"]),
    ("std::__1::allocator", &["allocate"]),
    ("std::__1::allocator_traits", &["allocate"]),
    ("std::_Vector_base", &["_M_allocate", "_M_create_storage"]),
    ("std::vector", VECTOR),
    ("std::__1::vector", &["__push_back_slow_path", "__emplace_back_slow_path", "__append", "__vallocate"]),
    ("std::__1::__split_buffer", &["__split_buffer"]),
    ("std::_Deque_base", &["_M_allocate", "_M_initialize_map"]),
    ("std::deque", &["_M_reallocate_map"]),
    ("std::_Rb_tree", &["_M_get_node", "_M_create_node"]),
    ("std::_List_base", &["_M_get_node"]),
    ("std::__cxx11::_List_base", &["_M_get_node"]),
    ("std::__cxx11::list", &["_M_create_node"]),
    ("std::__detail::_Hashtable_alloc", &["_M_allocate"]),
    ("std::__cxx11::basic_string", &["_M_create", "_M_mutate"]),
    ("v8::internal::Malloced", &["operator new"]),
];

/// How `std::vector` grows.
#[rustfmt::skip]
const VECTOR: &[&str] = &[
    "_M_realloc_insert", "_M_realloc_append", "_M_insert_aux", "_M_fill_insert", "_M_range_insert", "_M_default_append",
    "_M_allocate_and_copy",
];

/// Functions of C libraries through which a program reaches `main`, and a thread its function: of glibc and musl.
pub const C_START: [&str; 12] = [
    "_start",
    "_start_c",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "libc_start_main_stage2",
    "start_thread",
    "start",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
];

/// Methods of Java's library through which it gets memory that is not its heap's: starts of their names.
pub const JAVA_ALLOCATION: &[&str] = &[
    "jdk.internal.misc.Unsafe.",
    "sun.misc.Unsafe.",
    "java.nio.DirectByteBuffer.<init>",
    "java.nio.ByteBuffer.allocateDirect",
    "java.nio.Bits.",
];

/// Functions of HotSpot through which it, and Java's library, allocate.
pub const HOTSPOT_ALLOCATION: &[&str] = &[
    "os::malloc",
    "os::realloc",
    "AllocateHeap",
    "ReallocateHeap",
    "Unsafe_AllocateMemory0",
    "Unsafe_ReallocateMemory0",
];

/// Functions of HotSpot and of its launcher that lead from native code to methods.
pub const HOTSPOT: &[&str] = &[
    "JavaCalls::call",
    "JavaCalls::call_helper",
    "JavaCalls::call_static",
    "JavaCalls::call_virtual",
    "JavaCalls::call_special",
    "os::os_exception_wrapper",
    "jni_invoke_static",
    "jni_invoke_nonstatic",
    "jni_CallStaticVoidMethod",
    "jni_CallStaticObjectMethod",
    "jni_CallVoidMethod",
    "jni_CallObjectMethod",
    "jni_NewObjectV",
    "JVM_InvokeMethod",
    "JVM_NewInstanceFromConstructor",
    "JVM_DoPrivileged",
    "Reflection::invoke",
    "Reflection::invoke_method",
    "Reflection::invoke_constructor",
    "InstanceKlass::call_class_initializer",
    "JavaThread::run",
    "JavaThread::thread_main_inner",
    "Thread::call_run",
    "thread_native_entry",
    "JavaMain",
    "ThreadJavaMain",
];
