// Exceptions by null pointer, trees, SHA-256 and maps, as many rounds as the argument says.
import java.security.MessageDigest;
import java.util.HashMap;

public class Mixed {
    static class Node {
        Node left, right;
        int value;
    }

    static Node make(int depth) {
        Node node = new Node();
        node.value = depth;
        if (depth > 0) {
            node.left = make(depth - 1);
            node.right = make(depth - 1);
        }
        return node;
    }

    static int sum(Node node) {
        return node == null ? 0 : node.value + sum(node.left) + sum(node.right);
    }

    public static void main(String[] arguments) throws Exception {
        long total = 0;
        byte[] digest = new byte[64];
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        for (int round = Integer.parseInt(arguments[0]); round > 0; round--) {
            for (int i = 0; i < 20000; i++) {
                try {
                    String text = i % 3 == 0 ? null : "x" + i;
                    total += text.length();
                } catch (NullPointerException e) {
                    total += 3;
                }
            }
            for (int i = 0; i < 10; i++)
                total += sum(make(14));
            for (int i = 0; i < 8000; i++)
                digest = sha.digest(digest);
            HashMap<String, Integer> map = new HashMap<>();
            for (int i = 0; i < 60000; i++)
                map.merge("k" + i % 5003, i, Integer::sum);
            for (int value : map.values())
                total += value;
            total += digest[0];
        }
        System.out.println(total);
    }
}
