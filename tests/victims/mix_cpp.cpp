// Containers, strings, templates, virtual calls and sorting, again and again until there is a line to read.
//
// Every round makes the same calls, 5 to 15 frames deep, most through operator new; nothing stays.
// Expected: 0 bytes, 0 blocks once it is done.
#include <poll.h>
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>
#include "victim.h"

struct Node {
    virtual ~Node() = default;
    virtual std::string text() const = 0;
};

struct Leaf : Node {
    std::string name;
    explicit Leaf(int n) : name(40 + opaque(n % 7), 'a' + n % 26) {}
    OPAQUE std::string text() const override { return name + "!" + name; }
};

template <int DEPTH> struct Tree : Node {
    std::vector<std::unique_ptr<Node>> children;
    OPAQUE explicit Tree(int n) {
        for (int i = 0; i < 2; i++) {
            if constexpr (DEPTH > 0) {
                children.push_back(std::make_unique<Tree<DEPTH - 1>>(n + i));
            } else {
                children.push_back(std::make_unique<Leaf>(n + i));
            }
        }
    }
    OPAQUE std::string text() const override {
        std::string all;
        for (const auto &child : children) all += child->text();
        return all;
    }
};

OPAQUE static size_t count_words(const std::string &text) {
    std::map<std::string, std::vector<size_t>> places;
    std::unordered_map<char, std::set<size_t>> letters;
    for (size_t i = 0; i + 24 < text.size(); i += 24) {
        places[text.substr(i, 24)].push_back(i);
        letters[text[i]].insert(i);
    }
    return places.size() + letters.size();
}

OPAQUE static size_t apply(const std::function<size_t(int)> &work, int n) { return work(n); }

OPAQUE static size_t round_of(int n) {
    Tree<6> tree(n);
    std::string text = tree.text();
    size_t sum = apply(
        [&](int more) {
            std::vector<std::string> lines;
            for (int i = 0; i < 20 + more; i++) lines.push_back(text.substr(i, 30));
            std::stable_sort(lines.begin(), lines.end());
            std::ostringstream out;
            for (const auto &line : lines) out << line << ' ' << line.size();
            return out.str().size();
        },
        n % 5);
    return sum + count_words(text);
}

static bool line_is_there() {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, 0) > 0;
}

int main() {
    size_t sum = round_of(0);
    victim_ready();
    for (int n = 0; !line_is_there(); n = (n + 1) % 5) sum += round_of(n);
    sink(&sum);
    if (!victim_wait()) return 1;
    victim_done();
    return 0;
}
