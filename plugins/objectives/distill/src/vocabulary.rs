//! The vocabulary of a teacher's folder, and whether it is the recipe's.

use std::path::Path;

use ablate_sdk::{Error, Result};
use serde_json::Value;

/// The tokens of a Hugging Face folder by id: of `tokenizer.json` (a WordPiece model with its added
/// tokens), else of `vocab.txt` (a token a line).
///
/// # Errors
/// [`Error::Config`] where the folder has neither, or one that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<String>> {
    let text = |name: &str| {
        let path = folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        std::fs::read_to_string(&path).map(Some).map_err(|e| {
            Error::Config(format!("`teacher`: {} cannot be read: {e}", path.display()))
        })
    };
    if let Some(json) = text("tokenizer.json")? {
        return of_json(&json).ok_or_else(|| {
            Error::Config(format!(
                "`teacher`: {} holds no vocabulary of tokens by id",
                folder.join("tokenizer.json").display()
            ))
        });
    }
    if let Some(lines) = text("vocab.txt")? {
        return Ok(lines.lines().map(|l| l.trim_end().to_owned()).collect());
    }
    Err(Error::Config(format!(
        "`teacher`: {} has neither tokenizer.json nor vocab.txt, so its tokens cannot be compared",
        folder.display()
    )))
}

fn of_json(json: &str) -> Option<Vec<String>> {
    let file: Value = serde_json::from_str(json).ok()?;
    let vocab = file.get("model")?.get("vocab")?.as_object()?;
    let mut tokens: Vec<(u64, &str)> = Vec::with_capacity(vocab.len());
    for (token, id) in vocab {
        tokens.push((id.as_u64()?, token));
    }
    for added in file
        .get("added_tokens")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let (id, token) = (added.get("id")?.as_u64()?, added.get("content")?.as_str()?);
        if !vocab.contains_key(token) {
            tokens.push((id, token));
        }
    }
    tokens.sort_unstable();
    // Ids without a gap, or the file is something else.
    let whole = tokens.iter().zip(0..).all(|((id, _), n)| *id == n);
    whole.then(|| {
        tokens
            .into_iter()
            .map(|(_, token)| token.to_owned())
            .collect()
    })
}

/// Compares the teacher's tokens with the recipe's.
///
/// # Errors
/// [`Error::Config`] that names the first difference and what to do.
pub fn compare(folder: &str, teacher: &[String], recipe: &[&str]) -> Result<()> {
    let difference = teacher
        .iter()
        .zip(recipe)
        .position(|(t, r)| t != r)
        .map(|id| {
            format!(
                "id {id} is {:?} there and {:?} here",
                teacher[id], recipe[id]
            )
        });
    let difference = difference.or_else(|| {
        (teacher.len() != recipe.len())
            .then(|| format!("it has {} tokens, not {}", teacher.len(), recipe.len()))
    });
    match difference {
        None => Ok(()),
        Some(difference) => Err(Error::Config(format!(
            "the vocabulary of the teacher {folder} is another one: {difference}; a teacher's \
             probabilities mean nothing over other tokens, so use its own: {}",
            advice(folder)
        ))),
    }
}

/// The key of a recipe that takes the teacher's tokenizer.
pub fn advice(folder: &str) -> String {
    let file = ["tokenizer.json", "vocab.txt"]
        .into_iter()
        .find(|name| Path::new(folder).join(name).is_file())
        .unwrap_or("tokenizer.json");
    format!(
        "`data.tokenizer: {{file: {}}}`",
        Path::new(folder).join(file).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read() {
        let folder = std::env::temp_dir().join(format!("ablate-distill-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.to_str().unwrap().to_owned();
        assert!(read(&folder).is_err());
        std::fs::write(folder.join("vocab.txt"), "[PAD]\n[UNK]\nred\n").unwrap();
        assert_eq!(read(&folder).unwrap(), ["[PAD]", "[UNK]", "red"]);
        assert!(advice(&path).contains("vocab.txt"));
        let json = r#"{"model": {"vocab": {"red": 1, "[PAD]": 0}},
            "added_tokens": [{"id": 0, "content": "[PAD]"}, {"id": 2, "content": "new"}]}"#;
        std::fs::write(folder.join("tokenizer.json"), json).unwrap();
        assert_eq!(read(&folder).unwrap(), ["[PAD]", "red", "new"]);
        std::fs::write(
            folder.join("tokenizer.json"),
            r#"{"model": {"vocab": {"a": 7}}}"#,
        )
        .unwrap();
        assert!(matches!(read(&folder), Err(Error::Config(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn differences_are_named_with_what_to_do() {
        let teacher = ["[PAD]".to_owned(), "red".to_owned()];
        assert!(compare("t", &teacher, &["[PAD]", "red"]).is_ok());
        for (recipe, what) in [
            (
                &["[PAD]", "blue"][..],
                "id 1 is \"red\" there and \"blue\" here",
            ),
            (&["[PAD]"][..], "it has 2 tokens, not 1"),
        ] {
            let Err(Error::Config(text)) = compare("t", &teacher, recipe) else {
                panic!("accepted");
            };
            assert!(
                text.contains(what) && text.contains("data.tokenizer"),
                "{text}"
            );
        }
    }
}
