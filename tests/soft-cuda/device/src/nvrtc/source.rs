//! From CUDA C++ to C++: what macros cannot do.
//!
//! - `extern __shared__ float row[];` becomes a pointer to the block's dynamic shared memory;
//! - inline PTX becomes a call of the function that stands for the instruction (`emulator/ptx.h`);
//! - `extern "C"` kernels are found, for the module's table;
//! - `#include` lines are left out: everything that they could bring is there already.
//!
//! Everything keeps its line, so that messages name the lines of the original.

use super::tokens::{read, Spot, Token};

/// A kernel of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// The first argument of its `__launch_bounds__`, an expression, or `0`.
    pub max_threads: String,
}

/// A source that is rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// C++.
    pub text: String,
    /// Its `extern "C"` kernels.
    pub kernels: Vec<Kernel>,
}

/// A mistake with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// Headers that NVRTC users include and that need nothing here.
const HEADERS: &[&str] = &[
    "cuda_fp16.h",
    "cuda_bf16.h",
    "cuda_runtime.h",
    "stdint.h",
    "cstdint",
];

struct Source<'a> {
    text: &'a str,
    spots: Vec<Spot>,
    edits: Vec<(std::ops::Range<usize>, String)>,
}

/// Rewrites a source.
///
/// # Errors
/// It uses what the software device does not have.
pub fn rewrite(text: &str) -> Result<Rewritten, Mistake> {
    let mut source = Source {
        text,
        spots: read(text),
        edits: vec![],
    };
    let mut kernels = vec![];
    let mut i = 0;
    while i < source.spots.len() {
        match source.word(i) {
            "__shared__" => source.shared(i)?,
            "__global__" => kernels.extend(source.kernel(i)?),
            "__constant__" | "__managed__" => {
                let what = source.word(i).to_string();
                return Err(source.mistake(i, format!("{what} variables are not supported")));
            }
            "__device__" => source.device(i)?,
            "asm" | "__asm__" => i = source.assembly(i)?,
            _ if source.spots[i].token == Token::Directive => source.directive(i)?,
            _ => {}
        }
        i += 1;
    }
    Ok(Rewritten {
        text: source.edited(),
        kernels,
    })
}

impl Source<'_> {
    fn word(&self, i: usize) -> &str {
        self.spots
            .get(i)
            .map_or("", |spot| &self.text[spot.at.clone()])
    }

    fn mistake(&self, i: usize, text: String) -> Mistake {
        let at = self
            .spots
            .get(i)
            .map_or(self.text.len(), |spot| spot.at.start);
        Mistake {
            line: self.text[..at].matches('\n').count() + 1,
            text,
        }
    }

    /// Replaces the tokens `from..=to`, keeping their line breaks.
    fn replace(&mut self, from: usize, to: usize, with: String) {
        let range = self.spots[from].at.start..self.spots[to].at.end;
        let lines = self.text[range.clone()].matches('\n').count();
        self.edits.push((range, with + &"\n".repeat(lines)));
    }

    fn edited(mut self) -> String {
        self.edits.sort_by_key(|(range, _)| range.start);
        let (mut text, mut at) = (String::new(), 0);
        for (range, with) in self.edits {
            text.push_str(&self.text[at..range.start]);
            text.push_str(&with);
            at = range.end;
        }
        text + &self.text[at..]
    }

    /// The token after the bracket that closes the one at `open`.
    fn past(&self, open: usize) -> Result<usize, Mistake> {
        let (opening, closing) = match self.word(open) {
            "(" => ("(", ")"),
            "[" => ("[", "]"),
            other => return Err(self.mistake(open, format!("expected a bracket, found `{other}`"))),
        };
        let mut depth = 0;
        for i in open..self.spots.len() {
            if self.word(i) == opening {
                depth += 1;
            } else if self.word(i) == closing {
                depth -= 1;
                if depth == 0 {
                    return Ok(i + 1);
                }
            }
        }
        Err(self.mistake(open, format!("`{opening}` is never closed")))
    }

    fn directive(&mut self, i: usize) -> Result<(), Mistake> {
        let line = self.word(i).trim_start_matches('#').trim_start();
        let Some(name) = line.strip_prefix("include") else {
            return Ok(());
        };
        let name = name.trim().trim_matches(['"', '<', '>']).to_string();
        if HEADERS.contains(&name.as_str()) {
            self.replace(i, i, String::new());
            return Ok(());
        }
        Err(self.mistake(i, format!("cannot open source file \"{name}\"")))
    }

    /// `extern __shared__ [__align__(n)] T name[];`, with the keywords in any order.
    fn shared(&mut self, i: usize) -> Result<(), Mistake> {
        let is_start = |word: &str| matches!(word, ";" | "{" | "}" | "");
        let start = (0..i)
            .rev()
            .find(|j| is_start(self.word(*j)))
            .map_or(0, |j| j + 1);
        let end = (i..self.spots.len()).find(|j| self.word(*j) == ";");
        let Some(end) = end else {
            return Err(self.mistake(i, "a declaration without `;`".into()));
        };
        if !(start..end).any(|j| self.word(j) == "extern") {
            return Ok(());
        }
        if self.word(end - 1) != "]" || self.word(end - 2) != "[" {
            return Err(self.mistake(
                i,
                "extern __shared__ must be an array without a size".into(),
            ));
        }
        let name = self.word(end - 3).to_string();
        let (mut element, mut j) = (vec![], start);
        while j < end - 3 {
            match self.word(j) {
                "extern" | "__shared__" => {}
                "__align__" | "alignas" | "__attribute__" => j = self.past(j + 1)? - 1,
                word => element.push(word.to_string()),
            }
            j += 1;
        }
        let element = element.join(" ");
        self.replace(
            start,
            end,
            format!("{element} *const {name} = static_cast<{element} *>(soft_dynamic_shared());"),
        );
        Ok(())
    }

    /// A `__device__` variable, unless it is a constant or this is a function.
    fn device(&self, i: usize) -> Result<(), Mistake> {
        let mut constant = false;
        for j in i + 1..self.spots.len() {
            match self.word(j) {
                "const" | "constexpr" => constant = true,
                "(" | "{" | "operator" => return Ok(()),
                ";" | "=" | "[" if !constant => {
                    return Err(self.mistake(i, "__device__ variables are not supported".into()))
                }
                ";" | "=" | "[" => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The kernel whose `__global__` stands at `i`, if it is `extern "C"` and defined here.
    fn kernel(&self, i: usize) -> Result<Option<Kernel>, Mistake> {
        let ends = |word: &str| matches!(word, ";" | "}" | "{" | "");
        let before: Vec<&str> = (0..i)
            .rev()
            .map(|j| self.word(j))
            .take_while(|word| !ends(word) && !word.starts_with('#'))
            .collect();
        let in_block = (0..i).any(|j| {
            self.word(j) == "extern" && self.word(j + 1) == "\"C\"" && self.word(j + 2) == "{"
        });
        let mut max_threads = "0".to_string();
        let mut j = i + 1;
        loop {
            match self.word(j) {
                "" => return Err(self.mistake(i, "__global__ without a function".into())),
                "__launch_bounds__" => {
                    let past = self.past(j + 1)?;
                    let inside = (j + 2..past - 1).map(|k| self.word(k));
                    let first: Vec<&str> = inside.take_while(|word| *word != ",").collect();
                    max_threads = first.join(" ");
                    j = past;
                }
                "__attribute__" | "__maxnreg__" | "__cluster_dims__" => j = self.past(j + 1)?,
                "(" => break,
                _ => j += 1,
            }
        }
        let name = self.word(j - 1).to_string();
        let past = self.past(j)?;
        let is_defined = self.word(past) == "{";
        let is_c =
            before.contains(&"\"C\"") || (i + 1..j).any(|k| self.word(k) == "\"C\"") || in_block;
        let is_template = before.contains(&"template");
        Ok((is_defined && is_c && !is_template).then_some(Kernel { name, max_threads }))
    }

    /// `asm [volatile] ("..." : outputs : inputs : clobbers);` Returns its last token.
    fn assembly(&mut self, i: usize) -> Result<usize, Mistake> {
        let open = match self.word(i + 1) {
            "volatile" | "__volatile__" => i + 2,
            _ => i + 1,
        };
        let past = self.past(open)?;
        let mut parts: Vec<Vec<(usize, usize)>> = vec![vec![]];
        let (mut depth, mut start) = (0, open + 1);
        for j in open + 1..past {
            let word = self.word(j);
            let splits = depth == 0 && matches!(word, ":" | ",") || j == past - 1;
            if splits {
                if j > start {
                    if let Some(part) = parts.last_mut() {
                        part.push((start, j));
                    }
                }
                if word == ":" {
                    parts.push(vec![]);
                }
                start = j + 1;
            }
            match word {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                _ => {}
            }
        }
        let template = parts[0].first().map(|(from, to)| {
            let pieces = (*from..*to).map(|j| self.word(j).trim_matches('"'));
            pieces.collect::<String>()
        });
        let template = template.unwrap_or_default();
        let operands: Vec<String> = parts[1..]
            .iter()
            .take(2)
            .flatten()
            .map(|(from, to)| {
                // "=h"(value): the text between the outer brackets
                let begin = self.spots[from + 1].at.end;
                self.text[begin..self.spots[to - 1].at.start].to_string()
            })
            .collect();
        let call = instruction(&template, &operands).map_err(|text| self.mistake(i, text))?;
        self.replace(i, past - 1, call);
        Ok(past - 1)
    }
}

/// The call that stands for one PTX instruction.
fn instruction(template: &str, operands: &[String]) -> Result<String, String> {
    let text = template.replace("\\n", " ").replace("\\t", " ");
    let text = text.trim().trim_end_matches(';').trim();
    if text.contains(';') {
        return Err(format!("inline PTX of several instructions: `{text}`"));
    }
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let mut arguments = vec![];
    for operand in rest.split(',') {
        let operand = operand.trim().trim_matches(['{', '}', '[', ']']).trim();
        if operand.is_empty() {
            continue;
        }
        arguments.push(match operand.strip_prefix('%') {
            Some(number) => {
                let found = number.parse().ok().and_then(|n: usize| operands.get(n));
                let found = found.ok_or_else(|| format!("inline PTX has no operand %{number}"))?;
                format!("({found})")
            }
            None => operand.to_string(),
        });
    }
    let name = name.replace(['.', ':'], "_");
    Ok(format!("soft::ptx::{name}({})", arguments.join(", ")))
}

#[cfg(test)]
mod tests;
