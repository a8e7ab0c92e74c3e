//! Splitting a document into sentences.
//!
//! A sentence ends at a line break; after `.`, `!` or `?` (and closing quotes or brackets) when white
//! space and then an upper-case letter, an opening quote or bracket, or the end follows; and after
//! `。`, `！`, `？` always. Simple on purpose: it needs no word list, so "Dr. Who" is split, which a
//! language model's sentence pairs bear well, and "3.5 km" and "e.g. this" are not.

/// The sentences of `text` in order, trimmed, none empty. Together they hold all of the text but the
/// white space between them.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut start = 0;
        let mut chars = line.char_indices().peekable();
        while let Some((_, c)) = chars.next() {
            let always = matches!(c, '。' | '！' | '？');
            if !always && !matches!(c, '.' | '!' | '?') {
                continue;
            }
            while chars
                .next_if(|(_, c)| matches!(c, '.' | '!' | '?' | '。' | '！' | '？') || closes(*c))
                .is_some()
            {}
            let end = chars.peek().map_or(line.len(), |(i, _)| *i);
            let rest = &line[end..];
            let next = rest.trim_start();
            let spaced = next.len() < rest.len();
            let begins = next
                .chars()
                .next()
                .is_some_and(|c| c.is_uppercase() || opens(c));
            if always || spaced && begins {
                push(&mut out, &line[start..end]);
                start = end;
            }
        }
        push(&mut out, &line[start..]);
    }
    out
}

fn push<'a>(out: &mut Vec<&'a str>, sentence: &'a str) {
    let sentence = sentence.trim();
    if !sentence.is_empty() {
        out.push(sentence);
    }
}

fn closes(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»')
}

fn opens(c: char) -> bool {
    matches!(c, '"' | '\'' | '(' | '[' | '“' | '‘' | '«')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_the_rule_says() {
        for (text, expected) in [
            (
                "One. Two! Three? Four",
                vec!["One.", "Two!", "Three?", "Four"],
            ),
            (
                "It is 3.5 km, e.g. this. That.",
                vec!["It is 3.5 km, e.g. this.", "That."],
            ),
            (
                "He said \"Go.\" \"No!\" Then?...  Élan.",
                vec!["He said \"Go.\"", "\"No!\"", "Then?...", "Élan."],
            ),
            (
                "line one\nline two\r\n\n  \nthree.",
                vec!["line one", "line two", "three."],
            ),
            ("你好。再见！好", vec!["你好。", "再见！", "好"]),
            (
                "(As noted.) [See also.] done. Yes",
                vec!["(As noted.)", "[See also.] done.", "Yes"],
            ),
            ("...", vec!["..."]),
            ("", vec![]),
        ] {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }

    #[test]
    fn no_character_but_white_space_is_lost() {
        let text = "A.B. C? \"D!\" e\n.\n! F.  G";
        let bare = |s: &str| s.split_whitespace().collect::<String>();
        assert_eq!(bare(&sentences(text).concat()), bare(text));
    }
}
