//! A source as tokens, as far as the rewriting needs them.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name, keyword or number.
    Word,
    /// A string or character literal.
    Literal,
    /// Any other character.
    Mark,
    /// A preprocessor line, continuations included.
    Directive,
}

/// A token with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// What it is.
    pub token: Token,
    /// Where it stands, in bytes.
    pub at: Range<usize>,
}

/// The tokens of a source without comments and white space.
pub fn read(source: &str) -> Vec<Spot> {
    let bytes = source.as_bytes();
    let mut spots = vec![];
    let mut i = 0;
    let mut line_is_empty = true;
    while i < bytes.len() {
        let start = i;
        let rest = &source[i..];
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        let token = match bytes[i] {
            b'\n' => {
                line_is_empty = true;
                i += 1;
                continue;
            }
            b if b.is_ascii_whitespace() => {
                i += 1;
                continue;
            }
            b'/' if rest.starts_with("//") => {
                i += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with("/*") => {
                i += rest.find("*/").map_or(rest.len(), |end| end + 2);
                continue;
            }
            b'#' if line_is_empty => {
                i += directive_bytes(rest);
                Token::Directive
            }
            b'R' if rest.starts_with("R\"") => {
                let delimiter = rest[2..].split('(').next().unwrap_or_default();
                let end = format!("){delimiter}\"");
                i += rest.find(&end).map_or(rest.len(), |at| at + end.len());
                Token::Literal
            }
            quote @ (b'"' | b'\'') => {
                i += literal_bytes(rest.as_bytes(), quote);
                Token::Literal
            }
            b if word(b) => {
                i += rest.bytes().take_while(|b| word(*b)).count();
                Token::Word
            }
            _ => {
                i += 1;
                Token::Mark
            }
        };
        line_is_empty = false;
        spots.push(Spot {
            token,
            at: start..i,
        });
    }
    spots
}

fn directive_bytes(rest: &str) -> usize {
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        end += line.len();
        if !line.trim_end_matches(['\n', '\r']).ends_with('\\') {
            break;
        }
    }
    end
}

fn literal_bytes(rest: &[u8], quote: u8) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != quote && rest[i] != b'\n' {
        i += if rest[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<&str> {
        read(source).iter().map(|s| &source[s.at.clone()]).collect()
    }

    #[test]
    fn comments_and_literals() {
        assert_eq!(
            words("a /* x */ = \"/* \\\" */\"; // y\n'\\'' b1"),
            ["a", "=", "\"/* \\\" */\"", ";", "'\\''", "b1"]
        );
        assert_eq!(words("#define A \\\n  1\nB"), ["#define A \\\n  1\n", "B"]);
        assert_eq!(words("R\"x(a\")b)x\" c"), ["R\"x(a\")b)x\"", "c"]);
    }
}
