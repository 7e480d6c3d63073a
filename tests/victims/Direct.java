// At "go" takes 40 direct buffers of exactly 1,000,000 bytes each, and 40,000,000 bytes of the Java heap; speaks the protocol of victim.h.
//
// Expected: 40000000 bytes in 40 blocks from one stack of native code; the arrays are none of malloc's.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.ArrayList;

public class Direct {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        ArrayList<Object> kept = new ArrayList<>();
        System.out.println("ready " + ProcessHandle.current().pid());
        input.readLine();
        for (int i = 0; i < 40; i++) {
            kept.add(ByteBuffer.allocateDirect(1_000_000));
            kept.add(new byte[1_000_000]);
        }
        System.out.println("done " + kept.size());
        input.readLine();
    }
}
