//! Plans for a small library with one function of every kind.

use tracer_common::call::Arg;

use super::*;
use crate::attach::sites::Speed;

const TINY: &[u8] = include_bytes!("../fixtures/tiny.so");

fn tiny(prefix: Option<&str>) -> (ObjectSymbols, Plan) {
    let object = ObjectSymbols::parse(TINY).expect("the fixture is an ELF file");
    let options = PlanOptions {
        prefix: prefix.map(str::to_owned),
        callers_of_frees: false,
    };
    let plan = plan(&object, TINY, &options);
    (object, plan)
}

fn function<'a>(plan: &'a Plan, name: &str) -> &'a PlannedFunction {
    plan.functions
        .iter()
        .find(|function| function.name == name)
        .unwrap_or_else(|| panic!("{name} is planned"))
}

fn why<'a>(plan: &'a Plan, name: &str) -> &'a str {
    plan.left_out
        .iter()
        .find(|left| left.name == name)
        .map(|left| left.why.as_str())
        .unwrap_or_else(|| panic!("{name} is left out"))
}

#[test]
fn each_function_is_planned_wrapped_or_left_out() {
    let (_, plan) = tiny(None);
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(" ");
    let planned = plan.functions.iter().map(|function| &function.name);
    assert_eq!(names(planned.collect()), "malloc free realloc _Znwm valloc");
    let wrappers = plan.wrappers.iter().map(|wrapper| &wrapper.name);
    assert_eq!(names(wrappers.collect()), "cfree reallocarray _Znam");
    let left_out = plan.left_out.iter().map(|left| &left.name);
    assert_eq!(
        names(left_out.collect()),
        "xallocx _ZnwmSt11align_val_t memalign calloc"
    );
    assert_eq!(plan.allocator, AllocatorKind::Jemalloc);
}

#[test]
fn names_of_one_address_are_one_function() {
    let (object, plan) = tiny(None);
    let malloc = function(&plan, "malloc");
    assert_eq!(malloc.aliases, ["tc_malloc"]);
    assert_eq!(malloc.call, Call::alloc(Arg::First));
    assert_eq!(malloc.ending, Ending::Trampoline);
    assert_eq!(malloc.site.offset, 7);
    assert_eq!(object.file_offset(malloc.vaddr + 7), Some(malloc.entry));
    assert_eq!(TINY[malloc.entry as usize], 0x74, "a short jump");
}

#[test]
fn what_only_releases_has_no_end_and_what_throws_no_return_probe() {
    let (object, plan) = tiny(None);
    assert_eq!(function(&plan, "free").ending, Ending::None);
    let Ending::RetInstructions(returns) = &function(&plan, "_Znwm").ending else {
        panic!("operator new may throw");
    };
    assert_eq!(returns.len(), 2);
    for offset in returns {
        assert_eq!(TINY[*offset as usize], 0xc3);
    }
    let slow = object.function("slow_new").expect("slow_new").offset;
    assert!(returns.contains(&(slow + 1)));
}

#[test]
fn every_omission_has_its_reason() {
    let (_, plan) = tiny(None);
    assert!(why(&plan, "memalign").starts_with("an indirect function"));
    assert!(why(&plan, "calloc").ends_with("first instruction, int3"));
    assert!(why(&plan, "xallocx").contains("in place"));
    assert!(why(&plan, "_ZnwmSt11align_val_t").contains("ends in elsewhere"));
}

#[test]
fn wrappers_name_the_function_that_does_the_work() {
    let (_, plan) = tiny(None);
    let targets: Vec<_> = plan
        .wrappers
        .iter()
        .map(|wrapper| wrapper.target.as_str())
        .collect();
    assert_eq!(targets, ["free", "realloc", "malloc"]);
}

/// The far jump into valloc comes from another function, which alone may start over.
#[test]
fn a_jump_from_elsewhere_moves_the_probe_to_the_entry() {
    let (_, plan) = tiny(None);
    let valloc = function(&plan, "valloc");
    assert_eq!((valloc.site.offset, valloc.site.speed), (0, Speed::Slow));
    assert!(
        valloc.site.why.contains("jumps to between"),
        "{}",
        valloc.site.why
    );
}

#[test]
fn a_prefix_that_the_object_lacks_gives_an_empty_plan() {
    let (_, plan) = tiny(Some("rte_"));
    assert_eq!(plan.functions, []);
    assert_eq!(plan.left_out, []);
    assert_eq!(plan.allocator, AllocatorKind::Unknown);
}

#[test]
fn an_object_without_an_allocator_gives_an_empty_plan() {
    let mut object = tiny(None).0;
    object.functions.retain(|function| function.name != "free");
    let plan = plan(&object, TINY, &PlanOptions::default());
    assert_eq!(plan.functions, [], "operator new alone is no allocator");
    assert_eq!(plan.wrappers, []);
}

#[test]
fn the_dynamic_loader_gives_an_empty_plan() {
    let mut object = tiny(None).0;
    object.soname = Some("ld-linux-x86-64.so.2".to_owned());
    assert_eq!(plan(&object, TINY, &PlanOptions::default()).functions, []);
}

#[test]
fn one_address_with_two_conventions_is_left_out() {
    let mut object = tiny(None).0;
    for function in &mut object.functions {
        if function.name == "tc_malloc" {
            function.name = "aligned_alloc".to_owned();
        }
    }
    let plan = plan(&object, TINY, &PlanOptions::default());
    assert!(why(&plan, "malloc").contains("malloc, aligned_alloc"));
    assert!(why(&plan, "_Znam").contains("leaves its work to malloc"));
}

#[test]
fn allocators_are_told_by_their_symbols() {
    let object = tiny(None).0;
    let told = |evidence: &str| {
        let mut object = object.clone();
        for function in &mut object.functions {
            if function.name == "mallctl" {
                function.name = evidence.to_owned();
            }
        }
        plan(&object, TINY, &PlanOptions::default()).allocator
    };
    assert_eq!(told("_rjem_mallctl"), AllocatorKind::Jemalloc);
    assert_eq!(told("tc_version"), AllocatorKind::Tcmalloc);
    assert_eq!(told("mi_version"), AllocatorKind::Mimalloc);
    assert_eq!(told("gnu_get_libc_version"), AllocatorKind::Glibc);
    assert_eq!(told("__libc_malloc_impl"), AllocatorKind::Musl);
    assert_eq!(told("nothing_known"), AllocatorKind::Unknown);
}
