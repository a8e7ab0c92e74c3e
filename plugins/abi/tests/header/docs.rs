//! Rust documentation as C comments: links and names in C's form, wrapped anew.

use crate::generate::{c_module, c_type, constant_name};

const WIDTH: usize = 100;

/// A comment, each line after `indent`.
pub fn comment(docs: &str, indent: &str) -> String {
    let docs = translate(docs);
    let width = WIDTH - indent.len() - 3;
    let mut lines: Vec<String> = Vec::new();
    for paragraph in docs.split("\n\n") {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        for part in parts(paragraph) {
            lines.extend(wrap(&part, width));
        }
    }
    match lines.as_slice() {
        [] => String::new(),
        [one] if indent.len() + one.len() + 6 <= WIDTH => format!("{indent}/* {one} */\n"),
        _ => {
            let mut out = String::new();
            for (i, line) in lines.iter().enumerate() {
                let mark = if i == 0 { "/*" } else { " *" };
                out.push_str(format!("{indent}{mark} {line}").trim_end());
                out.push('\n');
            }
            out.push_str(&format!("{indent} */\n"));
            out
        }
    }
}

/// A paragraph's lines joined, but for entries of lists, which begin their own.
fn parts(paragraph: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in paragraph.lines() {
        let entry = line.starts_with("- ")
            || line
                .split_once(". ")
                .is_some_and(|(n, _)| n.parse::<u32>().is_ok());
        let heading = line.starts_with("# ");
        match out.last_mut() {
            Some(last) if !entry && !heading => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => out.push(line.trim_start_matches("# ").to_owned()),
        }
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    // Later lines of a list's entry stand under its text.
    let hang = match text.split_once(' ') {
        Some((mark, _)) if mark == "-" || mark.trim_end_matches('.').parse::<u32>().is_ok() => {
            " ".repeat(mark.len() + 1)
        }
        _ => String::new(),
    };
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().unwrap();
        if last.trim().is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(format!("{hang}{word}"));
        }
    }
    lines
}

/// Links, names and marks of Rust's documentation in C's form.
fn translate(docs: &str) -> String {
    let mut out = String::new();
    let mut rest = docs;
    while let Some(at) = rest.find(['`', '*']) {
        let (before, here) = rest.split_at(at);
        if here.starts_with('*') {
            // Emphasis; an asterisk inside of backticks never comes here.
            out.push_str(before);
            rest = here.trim_start_matches('*');
            continue;
        }
        let Some((code, after)) = here[1..].split_once('`') else {
            break;
        };
        let linked = before.ends_with('[') && after.starts_with(']');
        out.push_str(if linked {
            &before[..before.len() - 1]
        } else {
            before
        });
        out.push('`');
        out.push_str(&name(code, linked));
        out.push('`');
        rest = after;
        if linked {
            rest = &rest[1..];
            if let Some(target) = rest.strip_prefix('(') {
                rest = target.split_once(')').map_or("", |(_, rest)| rest);
            }
        }
    }
    // An article before a name that now begins with a vowel.
    (out + rest)
        .replace(" a `ablate", " an `ablate")
        .replace("A `ablate", "An `ablate")
}

/// A Rust name as C has it.
fn name(code: &str, linked: bool) -> String {
    match code.split_once("::") {
        Some((module, constant)) if c_module(module).is_some() => constant_name(module, constant),
        Some((ty, field)) if ty.starts_with(char::is_uppercase) => {
            format!("{}.{field}", c_type(ty))
        }
        Some(_) => code.to_owned(),
        None if !linked => match code {
            "u32" => "uint32_t".to_owned(),
            _ => code.to_owned(),
        },
        None => {
            if let Some(shown) = c_module(code) {
                shown
            } else if code.starts_with("ABI_")
                || code.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            {
                match code {
                    "MAGIC" => "ABLATE_PLUGIN_MAGIC".to_owned(),
                    "ENTRY_SYMBOL" => "ablate_plugin_entry".to_owned(),
                    _ => format!("ABLATE_{code}"),
                }
            } else if code.starts_with(char::is_uppercase) {
                c_type(code)
            } else {
                code.to_owned()
            }
        }
    }
}
