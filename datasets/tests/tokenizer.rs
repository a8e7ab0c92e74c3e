//! The tokenizer: the same training twice gives the same vocabulary, files go around, wrong files are
//! named.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use ablate_datasets::sample::{generate, SampleOptions};
use ablate_datasets::{Document, Tokenizer};

fn documents() -> Vec<Document> {
    let options = SampleOptions {
        documents: 300,
        ..SampleOptions::default()
    };
    generate(&options).unwrap().documents
}

fn document(text: &str) -> Document {
    Document {
        id: "d".into(),
        text: text.into(),
    }
}

fn vocabulary(tokenizer: &Tokenizer) -> Vec<u8> {
    let files: HashMap<_, _> = tokenizer.files().unwrap().into_iter().collect();
    files["vocab.txt"].clone()
}

/// Small enough that the vocabulary is far from complete words, so that ties decide much of it.
const SIZE: usize = 300;

#[test]
fn training_is_the_same_in_every_process() {
    let here = vocabulary(&Tokenizer::train(&documents(), SIZE, true).unwrap());
    if let Ok(path) = std::env::var("ABLATE_TEST_VOCABULARY") {
        fs::write(path, here).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3 {
        let path = dir.path().join(format!("{i}"));
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "training_is_the_same_in_every_process"])
            .env("ABLATE_TEST_VOCABULARY", &path)
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        assert_eq!(fs::read(&path).unwrap(), here);
    }
}

#[test]
fn special_tokens_come_first_and_facts_tell_the_vocabulary() {
    let t = Tokenizer::train(&documents(), SIZE, true).unwrap();
    let f = t.facts();
    assert_eq!((f.pad, f.unk, f.cls, f.sep, f.mask), (0, 1, 2, 3, 4));
    assert_eq!(
        (f.size, f.special.len(), f.continuation.len()),
        (SIZE, SIZE, SIZE)
    );
    assert_eq!(f.special.iter().filter(|s| **s).count(), 5);
    for id in 0..SIZE as u32 {
        let piece = t.piece(id).unwrap();
        assert_eq!(f.continuation[id as usize], piece.starts_with("##"));
    }
    assert_eq!(t.piece(SIZE as u32), None);
}

#[test]
fn text_goes_to_ids_and_back_to_words() {
    let t = Tokenizer::train(&documents(), 2000, true).unwrap();
    let ids = t.encode("Finally LATER took.").unwrap();
    assert_eq!(t.words(&ids), "finally later took .");
    assert!(!ids.contains(&t.facts().unk));
    // The names of special tokens in a text are text.
    let ids = t.encode("then [SEP] took [MASK]").unwrap();
    assert!(ids
        .iter()
        .all(|id| *id == t.facts().unk || !t.facts().special[*id as usize]));
    assert_eq!(t.encode("\u{4e16}").unwrap(), [t.facts().unk]);
    assert!(t.encode("").unwrap().is_empty());
}

#[test]
fn a_saved_tokenizer_loads_again_through_each_of_its_files() {
    for lowercase in [true, false] {
        let t = Tokenizer::train(&documents(), 500, lowercase).unwrap();
        let dir = tempfile::tempdir().unwrap();
        t.save(dir.path()).unwrap();
        let text = "In the end, Nobody took a thing.";
        for path in ["", "tokenizer.json", "vocab.txt"] {
            let again = Tokenizer::load(&dir.path().join(path)).unwrap();
            assert_eq!(again.facts(), t.facts(), "{path}");
            assert_eq!(again.lowercase(), lowercase, "{path}");
            assert_eq!(again.encode(text).unwrap(), t.encode(text).unwrap());
            assert_eq!(again.files().unwrap(), t.files().unwrap());
        }
        // Without the configuration, upper-case pieces tell.
        fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
        let again = Tokenizer::load(&dir.path().join("vocab.txt")).unwrap();
        assert_eq!(again.lowercase(), lowercase);
    }
}

#[test]
fn wrong_files_and_sizes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let fails = |path: &std::path::Path| Tokenizer::load(path).unwrap_err().to_string();
    assert!(fails(&dir.path().join("none.txt")).contains("none.txt"));
    assert!(fails(dir.path()).contains("neither tokenizer.json nor vocab.txt"));
    let e = fails(&write("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n"));
    assert!(e.contains("vocab.txt") && e.contains("no [MASK]"), "{e}");
    let e = fails(&write("twice.txt", b"a\nb\na\n"));
    assert!(
        e.contains("`a` stands on line 1 and again on line 3"),
        "{e}"
    );
    let e = fails(&write("bytes.txt", b"a\n\xff\n"));
    assert!(e.contains("line 2 is not valid UTF-8"), "{e}");
    let e = fails(&write("broken.json", b"{"));
    assert!(
        e.contains("broken.json") && e.contains("not a tokenizer.json"),
        "{e}"
    );
    let e = Tokenizer::train(&[document("abc abd")], 6, true)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("vocab_size is 6") && e.contains("at least 12"),
        "{e}"
    );
}
