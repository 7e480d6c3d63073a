// Ways of Java to call, mixed at random into 100 stacks, after each way has run often enough to be compiled. Says
// "ready"; at a line allocates one block of a size of its own at the end of each stack, tells as JSON which frames
// (function, file, line) were on the stack of each size, and waits for another line.
//
// Expected: the stack of each size has these frames of Java, innermost first.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;

public class Mixed {
    static final int LEAST = 70_000;
    static final sun.misc.Unsafe UNSAFE = unsafe();
    static final TreeMap<Integer, StackTraceElement[]> truths = new TreeMap<>();
    static int count;
    // Blocks from this size on are kept. While it is small both ways are taken, so that both are compiled.
    static int least = 18;

    interface Step { void go(int[] path, int at, int size) throws Throwable; }
    static class One implements Step { public void go(int[] path, int at, int size) throws Throwable { next(path, at, size); } }
    static class Two implements Step { public void go(int[] path, int at, int size) throws Throwable { next(path, at, size); } }
    static class Three implements Step {
        public void go(int[] path, int at, int size) throws Throwable {
            synchronized (this) {
                next(path, at, size);
            }
        }
    }
    static class Made {
        Made(int[] path, int at, int size) throws Throwable { next(path, at, size); }
    }
    static final Step[] STEPS = { new One(), new Two(), new Three() };
    static final Method REFLECTED;
    static final MethodHandle HANDLE;
    static {
        try {
            Class<?>[] kinds = { int[].class, int.class, int.class };
            REFLECTED = Mixed.class.getDeclaredMethod("next", kinds);
            HANDLE = MethodHandles.lookup().findStatic(Mixed.class, "next", MethodType.methodType(void.class, kinds));
        } catch (ReflectiveOperationException error) {
            throw new RuntimeException(error);
        }
    }

    static sun.misc.Unsafe unsafe() {
        try {
            var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (sun.misc.Unsafe) field.get(null);
        } catch (ReflectiveOperationException error) {
            throw new RuntimeException(error);
        }
    }

    static void note(int size, Throwable here) {
        if (size >= LEAST) synchronized (truths) { truths.put(size, here.getStackTrace()); }
    }

    static void alloc(int size) {
        if (size >= least) note(size, new Throwable()); long block = UNSAFE.allocateMemory(size);
        if (size < least) UNSAFE.freeMemory(block);
    }

    static void next(int[] path, int at, int size) throws Throwable {
        if (at == path.length) {
            alloc(size);
            return;
        }
        int next = at + 1;
        switch (path[at]) {
            case 0: next(path, next, size); break;
            case 1: lambda(path, next, size); break;
            case 2: STEPS[size % 3].go(path, next, size); break;
            case 3: deep(path, next, size, 3); break;
            case 4: stream(path, next, size); break;
            case 5: sort(path, next, size); break;
            case 6: REFLECTED.invoke(null, path, next, size); break;
            case 7: HANDLE.invokeExact(path, next, size); break;
            case 8: caught(path, next, size); break;
            case 9: map(path, next, size); break;
            case 10: new Made(path, next, size); break;
            default: finished(path, next, size);
        }
    }

    static void quiet(int[] path, int at, int size) {
        try {
            next(path, at, size);
        } catch (Throwable error) {
            throw new RuntimeException(error);
        }
    }

    static void lambda(int[] path, int at, int size) {
        Runnable run = () -> quiet(path, at, size);
        run.run();
    }

    static void deep(int[] path, int at, int size, int left) throws Throwable {
        if (left == 0) next(path, at, size);
        else deep(path, at, size, left - 1);
    }

    static void stream(int[] path, int at, int size) {
        Arrays.asList(size).stream().filter(one -> one > 0).forEach(one -> quiet(path, at, one));
    }

    static void sort(int[] path, int at, int size) {
        Integer[] two = { 1, 2 };
        boolean[] once = { true };
        Arrays.sort(two, (one, other) -> {
            if (once[0]) quiet(path, at, size);
            once[0] = false;
            return one - other;
        });
    }

    static void caught(int[] path, int at, int size) throws Throwable {
        try {
            if (size > 0) throw new IllegalStateException();
        } catch (IllegalStateException error) {
            next(path, at, size);
        }
    }

    static void map(int[] path, int at, int size) {
        new HashMap<Integer, Integer>().computeIfAbsent(size, key -> {
            quiet(path, at, key);
            return key;
        });
    }

    static void finished(int[] path, int at, int size) throws Throwable {
        try {
            count++;
        } finally {
            next(path, at, size);
        }
    }

    static String json() {
        StringBuilder text = new StringBuilder("{");
        truths.forEach((size, frames) -> {
            text.append(text.length() > 1 ? "," : "").append('"').append(size).append("\":[");
            String between = "";
            for (StackTraceElement frame : frames) {
                text.append(between).append("[\"").append(frame.getClassName()).append('.').append(frame.getMethodName())
                    .append("\",\"").append(frame.getFileName()).append("\",").append(frame.getLineNumber()).append(']');
                between = ",";
            }
            text.append(']');
        });
        return text.append('}').toString();
    }

    public static void main(String[] arguments) throws Throwable {
        int often = Integer.parseInt(arguments[0]);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        Random random = new Random(7);
        List<int[]> paths = new ArrayList<>();
        for (int way = 0; way < 12; way++) paths.add(new int[] { way });
        HashSet<String> known = new HashSet<>();
        while (paths.size() < 100) {
            int[] path = random.ints(2 + random.nextInt(6), 0, 12).toArray();
            if (known.add(Arrays.toString(path))) paths.add(path);
        }
        for (int round = 0; round < often; round++) {
            for (int[] path : paths) next(path, 0, 17 + round % 3);
        }
        least = LEAST;
        System.out.println("ready");
        input.readLine();
        for (int number = 0; number < paths.size(); number++) {
            int[] path = paths.get(number);
            int size = LEAST + number * 64;
            // What is compiled meanwhile is to be known to who looks on.
            Thread.sleep(20);
            if (number % 10 == 9) {
                Thread thread = new Thread(() -> quiet(path, 0, size));
                thread.start();
                thread.join();
            } else {
                next(path, 0, size);
            }
        }
        System.out.println(json());
        input.readLine();
    }
}
