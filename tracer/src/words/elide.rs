//! Shortening of symbols and paths to a width so that what matters in them stays readable.

use unicode_width::UnicodeWidthChar;

const DOTS: &str = "...";

/// Columns that a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    match text.is_ascii() {
        true => text.bytes().filter(|byte| !byte.is_ascii_control()).count(),
        false => text.chars().map(char_columns).sum(),
    }
}

fn char_columns(letter: char) -> usize {
    letter.width().unwrap_or(0)
}

/// The longest start of `text` within `max` columns.
pub fn start(text: &str, max: usize) -> &str {
    if text.len() <= max {
        // No letter takes more columns than it has bytes.
        return text;
    }
    let mut taken = 0;
    for (index, letter) in text.char_indices() {
        taken += char_columns(letter);
        if taken > max {
            return &text[..index];
        }
    }
    text
}

/// The longest end of `text` within `max` columns.
fn end(text: &str, max: usize) -> &str {
    let mut taken = 0;
    for (index, letter) in text.char_indices().rev() {
        taken += char_columns(letter);
        if taken > max {
            return &text[index + letter.len_utf8()..];
        }
    }
    text
}

/// `text` with its middle replaced by "..." where it is wider than `max`.
pub fn middle(text: &str, max: usize) -> String {
    if columns(text) <= max {
        return text.to_owned();
    }
    let Some(kept) = max.checked_sub(DOTS.len()) else {
        return start(DOTS, max).to_owned();
    };
    format!(
        "{}{DOTS}{}",
        start(text, kept.div_ceil(2)),
        end(text, kept / 2)
    )
}

/// A function's name within `max` columns.
///
/// Template arguments and parameter lists go first, the deepest before the others, so that the
/// path of the function stays: `std::vector<...>::push_back(...)`. Then the path goes, from the left.
pub fn symbol(name: &str, max: usize) -> String {
    if columns(name) <= max {
        return name.to_owned();
    }
    let Some((tokens, deepest)) = tokens(name) else {
        return middle(name, max);
    };
    let mut shorter = name.to_owned();
    for depth in (0..deepest).rev() {
        shorter = collapse(&tokens, depth);
        if columns(&shorter) <= max {
            return shorter;
        }
    }
    from_the_left(&shorter, "::", max)
}

/// `text` without its first parts, as many as it takes to fit; the last part is cut in its middle.
fn from_the_left(text: &str, separator: &str, max: usize) -> String {
    let tails = || {
        text.match_indices(separator)
            .map(|(index, _)| &text[index..])
    };
    let fitting = tails()
        .filter(|tail| tail.len() < text.len())
        .find(|tail| columns(tail) + DOTS.len() <= max);
    match fitting {
        Some(tail) => format!("{DOTS}{tail}"),
        None => {
            let last = tails().last().map_or(text, |tail| &tail[separator.len()..]);
            middle(last, max)
        }
    }
}

/// A source file and its line within `max` columns: folders go first, from the left.
pub fn path(path: &str, max: usize) -> String {
    if columns(path) <= max {
        return path.to_owned();
    }
    from_the_left(path, "/", max)
}

/// Columns of the shortest form of a path that still holds all of the file's name.
pub fn least_path(path: &str) -> usize {
    let name = path.rfind('/').map(|index| &path[index..]);
    name.map_or(columns(path), |name| {
        columns(path).min(DOTS.len() + columns(name))
    })
}

/// A piece of a name, with the number of groups that it stands in.
enum Token<'a> {
    Text(&'a str, usize),
    Open(&'a str, usize),
    Close(&'a str, usize),
}

/// What follows `operator` or stands alone, and is no bracket.
const NOT_BRACKETS: [&str; 12] = [
    "operator<=>",
    "operator<<=",
    "operator>>=",
    "operator<<",
    "operator>>",
    "operator<=",
    "operator>=",
    "operator->",
    "operator<",
    "operator>",
    "operator()",
    "->",
];

/// Cuts a name at its brackets; `None` if they do not pair.
fn tokens(name: &str) -> Option<(Vec<Token<'_>>, usize)> {
    let mut tokens = Vec::new();
    let mut open = Vec::new();
    let mut deepest = 0;
    let mut text_start = 0;
    let mut index = 0;
    while let Some(letter) = name[index..].chars().next() {
        let whole = NOT_BRACKETS
            .iter()
            .find(|text| name[index..].starts_with(**text));
        if let Some(whole) = whole {
            index += whole.len();
            continue;
        }
        let next = index + letter.len_utf8();
        if !matches!(letter, '<' | '>' | '(' | ')') {
            index = next;
            continue;
        }
        tokens.push(Token::Text(&name[text_start..index], open.len()));
        let bracket = &name[index..next];
        if matches!(letter, '<' | '(') {
            tokens.push(Token::Open(bracket, open.len()));
            open.push(letter);
            deepest = deepest.max(open.len());
        } else {
            if open.pop()? != (if letter == '>' { '<' } else { '(' }) {
                return None;
            }
            tokens.push(Token::Close(bracket, open.len()));
        }
        index = next;
        text_start = next;
    }
    tokens.push(Token::Text(&name[text_start..], open.len()));
    open.is_empty().then_some((tokens, deepest))
}

/// The name with the contents of all groups that stand in `depth` others replaced by "...".
fn collapse(tokens: &[Token<'_>], depth: usize) -> String {
    let mut name = String::new();
    let mut group_start = None;
    for token in tokens {
        match *token {
            Token::Text(text, inside) if inside <= depth => name.push_str(text),
            Token::Open(bracket, inside) if inside <= depth => {
                name.push_str(bracket);
                if inside == depth {
                    group_start = Some(name.len());
                }
            }
            Token::Close(bracket, inside) if inside <= depth => {
                name.push_str(bracket);
                group_start = None;
            }
            // The first piece inside the group stands for all of it.
            Token::Text(text, _) | Token::Open(text, _) | Token::Close(text, _) => {
                if group_start == Some(name.len()) && !text.is_empty() {
                    name.push_str(DOTS);
                    group_start = None;
                }
            }
        }
    }
    name
}

/// `text` cut into words of at most `max` columns each.
pub fn words(text: &str, max: Option<usize>) -> Vec<String> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    words
        .map(|word| max.map_or_else(|| word.to_owned(), |max| path(word, max)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TREE: &str = "std::_Rb_tree<std::pair<int, long>, std::allocator<char> >::_M_insert_(int, std::less<int>)";

    #[test]
    fn templates_lose_their_deepest_arguments_first() {
        assert_eq!(symbol(TREE, 200), TREE);
        assert_eq!(symbol(TREE, 80), "std::_Rb_tree<...>::_M_insert_(...)");
        assert_eq!(
            symbol(TREE, 84),
            "std::_Rb_tree<std::pair<...>, std::allocator<...> >::_M_insert_(int, std::less<...>)"
        );
        assert_eq!(symbol(TREE, 20), "...::_M_insert_(...)");
    }

    #[test]
    fn operators_and_arrows_are_no_brackets() {
        let name =
            "std::operator<< <std::char_traits<char> >(std::basic_ostream<char>&, char const*)";
        assert_eq!(symbol(name, 40), "std::operator<< <...>(...)");
        assert_eq!(
            symbol("Smart<Pointer>::operator->() const", 30),
            "Smart<...>::operator->() const"
        );
        assert_eq!(
            symbol("call<fn(u8) -> u8>::{{closure}}", 25),
            "call<...>::{{closure}}"
        );
        assert_eq!(symbol("broken<<<name::is_cut", 12), "broke..._cut");
    }

    #[test]
    fn paths_lose_folders_from_the_left() {
        let file = "/usr/src/redis/deps/jemalloc/src/jemalloc.c:2712";
        assert_eq!(path(file, 100), file);
        assert_eq!(path(file, 30), ".../src/jemalloc.c:2712");
        assert_eq!(path(file, 18), "jemalloc.c:2712");
        assert_eq!(path(file, least_path(file)), ".../jemalloc.c:2712");
        assert_eq!(least_path("/x.c:1"), 6);
        assert_eq!(path(file, 9), "jem...712");
    }

    #[test]
    fn the_middle_goes() {
        assert_eq!(middle("abcdefghij", 10), "abcdefghij");
        assert_eq!(middle("abcdefghij", 8), "abc...ij");
        assert_eq!(middle("abcdefghij", 2), "..");
        assert_eq!(middle("", 0), "");
    }

    proptest! {
        /// Whatever the text, the result fits; a text that fits is left alone.
        #[test]
        fn results_fit(text in "([a-z:<>()/ ]|->|operator|\\PC){0,60}", max in 0usize..80) {
            for result in [symbol(&text, max), path(&text, max), middle(&text, max)] {
                prop_assert!(columns(&result) <= max, "{result:?}");
                if columns(&text) <= max {
                    prop_assert_eq!(&result, &text);
                }
            }
        }
    }
}
