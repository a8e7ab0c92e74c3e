//! Every format, good records and bad ones, through the public door.

use std::fs;
use std::path::Path;

use ablate_datasets::{check, read, Corpus, DataError, Format, OnError, Source};

fn files(json: serde_json::Value) -> Source {
    serde_json::from_value(json).unwrap()
}

fn texts(corpus: &Corpus) -> Vec<(&str, &str)> {
    corpus
        .documents
        .iter()
        .map(|d| (d.id.as_str(), d.text.as_str()))
        .collect()
}

/// Lines and reasons of what was left out.
fn skipped(corpus: &Corpus) -> Vec<(u64, &str)> {
    corpus
        .report
        .skipped
        .iter()
        .map(|s| (s.line.unwrap_or(0), s.reason.as_str()))
        .collect()
}

const BAD_LINES: &[u8] = b"{\"id\": \"a\", \"text\": \"one\"}\n\
    {\"id\": \"b\", \"text\": \n\
    \n\
    {\"id\": \"c\"}\n\
    {\"id\": 4, \"text\": \"four\"}\n\
    {\"id\": \"e\", \"text\": 5}\n\
    [1]\n\
    {\"id\": \"f\", \"text\": \"\xff\"}\n\
    {\"id\": \"g\", \"text\": \" \"}\n\
    {\"id\": \"a\", \"text\": \"again\"}";

#[test]
fn json_lines_keeps_an_account_of_every_bad_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.jsonl"), BAD_LINES).unwrap();
    let source = files(serde_json::json!({"path": "x.jsonl", "text": "text", "id": "id"}));
    let corpus = read(&source, dir.path()).unwrap();
    assert_eq!(
        texts(&corpus),
        [("a", "one"), ("4", "four"), ("a#2", "again")]
    );
    let skipped = skipped(&corpus);
    let expected = [
        (2, "not JSON"),
        (4, "no text field `text`; the keys are id"),
        (6, "text field `text` is a number, expected a string"),
        (7, "expected a JSON object, found an array"),
        (8, "invalid UTF-8 at byte 22"),
        (9, "the text is empty"),
    ];
    assert_eq!(skipped.len(), expected.len(), "{skipped:?}");
    for ((line, reason), (expected_line, expected)) in skipped.iter().zip(expected) {
        assert_eq!(*line, expected_line);
        assert!(reason.contains(expected), "{reason}");
    }
    // Nothing is lost: documents and bad lines together are all records.
    assert_eq!(corpus.report.records, 9);
    assert_eq!(corpus.report.duplicate_ids[0].renamed, "a#2");
    assert!(corpus.report.to_string().contains("6 left out (first: "));

    let mut source = source;
    if let Source::Files(files) = &mut source {
        files.on_error = OnError::Refuse;
    }
    let message = read(&source, dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("x.jsonl:2: not JSON") && message.contains("on_error"),
        "{message}"
    );
}

#[test]
fn csv_and_tsv_know_quotes_and_lines() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("x.csv"),
        b"key,body\n1,\"two, with\nbreak\"\n2\n3,\xfe\n4,last\n",
    )
    .unwrap();
    fs::write(dir.path().join("x.tsv"), "body\tkey\nhello\tk\n").unwrap();
    let source = files(serde_json::json!({"path": "x.?sv", "text": "body", "id": "key"}));
    let corpus = read(&source, dir.path()).unwrap();
    assert_eq!(
        texts(&corpus),
        [("1", "two, with\nbreak"), ("4", "last"), ("k", "hello")]
    );
    let skipped = skipped(&corpus);
    assert_eq!(skipped[0], (4, "1 field(s), the header has 2"));
    assert_eq!(skipped[1].0, 5);
    assert!(skipped[1]
        .1
        .contains("invalid UTF-8 at byte 1 of column `body`"));

    let wrong = files(serde_json::json!({"path": "x.csv", "text": "text"}));
    let message = read(&wrong, dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("no column `text`; the columns are key, body"),
        "{message}"
    );
}

#[test]
fn plain_text_is_a_document_a_file_or_blocks() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("a.txt"), "One.\n\nTwo.\n").unwrap();
    fs::write(dir.path().join("sub/b.txt"), b"ok\nbad \xff\n").unwrap();
    let source = files(serde_json::json!({"path": "**/*.txt"}));
    let corpus = read(&source, dir.path()).unwrap();
    assert_eq!(texts(&corpus), [("a.txt", "One.\n\nTwo.\n")]);
    assert_eq!(
        skipped(&corpus),
        [(2, "invalid UTF-8 at byte 5 of the line")]
    );

    fs::write(
        dir.path().join("c.txt"),
        b"\n\nOne.\r\nTwo.\r\n \r\nThree\xff\nFour\n\nFive",
    )
    .unwrap();
    let source = files(serde_json::json!({"path": "c.txt", "format": "text_blocks"}));
    let corpus = read(&source, dir.path()).unwrap();
    assert_eq!(
        texts(&corpus),
        [("c.txt:3", "One.\nTwo."), ("c.txt:9", "Five")]
    );
    assert_eq!(
        skipped(&corpus),
        [(6, "invalid UTF-8 at byte 6 of the line")]
    );
}

#[test]
fn json_tree_makes_a_document_of_each_section() {
    let dir = tempfile::tempdir().unwrap();
    let long = "one two three four five six seven eight";
    fs::write(
        dir.path().join("xy.json"),
        format!(
            r#"{{"Land": {{"Area": {{"text": "7 km"}}, "Note": {{"text": "{long} ++ short ++ {long} nine"}}}},
                "People": {{"Deep": {{"er": {{"text": "{long}"}}}}}}, "Empty": {{"A": {{"text": null}}}}}}"#
        ),
    )
    .unwrap();
    fs::write(dir.path().join("yz.json"), "{\n \"a\": ]").unwrap();
    let source = files(serde_json::json!({"path": "*.json", "format": "json_tree"}));
    let corpus = read(&source, dir.path()).unwrap();
    let nine = format!("{long}\n{long} nine");
    assert_eq!(
        texts(&corpus),
        [("xy/Land", nine.as_str()), ("xy/People", long)]
    );
    let skipped = skipped(&corpus);
    assert!(skipped[0].1.contains("section `Empty`"));
    assert!(skipped[1].0 == 2 && skipped[1].1.contains("not JSON"));
}

#[test]
fn missing_unknown_and_empty_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path();
    fs::write(base.join("x.docx"), "x").unwrap();
    fs::write(base.join("empty.jsonl"), "\n\n").unwrap();
    let fails = |source: &Source| read(source, base).unwrap_err();

    let e = fails(&files(serde_json::json!({"path": "none/*.jsonl"})));
    assert!(matches!(e, DataError::NoFiles { .. }), "{e}");
    let unknown = files(serde_json::json!({"path": "x.docx"}));
    let e = fails(&unknown);
    assert!(matches!(e, DataError::UnknownFormat { .. }));
    assert!(
        e.to_string()
            .contains("json_lines (.jsonl, .ndjson), csv (.csv)"),
        "{e}"
    );
    assert!(check(&unknown, base).is_err());
    let e = fails(&files(serde_json::json!({"path": "empty.jsonl"})));
    assert!(matches!(e, DataError::EmptyCorpus { .. }));
    assert!(
        e.to_string()
            .contains("no documents: 1 file(s), 0 record(s)"),
        "{e}"
    );
    let e = fails(&files(serde_json::json!({"path": "a[.jsonl"})));
    assert!(matches!(e, DataError::Pattern { .. }), "{e}");
    assert!(
        serde_json::from_value::<Source>(serde_json::json!({"path": "a", "txt": "b"})).is_err()
    );
}

#[test]
fn the_folder_of_a_glob_is_taken_literally() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("odd [name]*");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("a.txt"), "text").unwrap();
    let source = files(serde_json::json!({"path": "*.txt"}));
    assert_eq!(read(&source, &odd).unwrap().documents.len(), 1);
}

fn card(dir: &Path, text: &str) -> Source {
    let path = dir.join("card.yaml");
    fs::write(&path, text).unwrap();
    Source::Path(path)
}

#[test]
fn a_card_brings_its_files_and_verifies_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/1.txt"), "one").unwrap();
    fs::write(dir.path().join("d/2.txt"), "two").unwrap();
    // printf onetwo | sha256sum
    let sum = "25b6746d5172ed6352966a013d93ac846e1110d5a25e8f183b5931f4688842a1";
    let text =
        |sum: &str| format!("name: n\nsource: d/*.txt\nlicence: CC0\nchecksum: sha256:{sum}\n");
    let corpus = read(&card(dir.path(), &text(sum)), Path::new("/nowhere")).unwrap();
    assert_eq!(corpus.licence.as_deref(), Some("CC0"));
    assert_eq!(texts(&corpus), [("d/1.txt", "one"), ("d/2.txt", "two")]);
    let wrong = card(dir.path(), &text(&"0".repeat(64)));
    let e = read(&wrong, Path::new("/nowhere")).unwrap_err();
    assert!(e.to_string().contains(sum), "{e}");

    let gone = card(
        dir.path(),
        "name: n\nsource: gone/*.txt\nlicence: CC0\ndownload: ask the owner\n",
    );
    let e = check(&gone, Path::new("/nowhere")).unwrap_err().to_string();
    assert!(e.contains("to get the data: ask the owner"), "{e}");
    let unknown = card(dir.path(), "name: n\nsorce: x\nlicence: CC0\n");
    let e = check(&unknown, Path::new("/nowhere"))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("card.yaml") && e.contains("sorce") && e.contains("line 2"),
        "{e}"
    );
}

#[test]
fn the_cards_of_this_folder_are_well_formed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    check(&Source::Path("sample.yaml".into()), folder).unwrap();
    // The data of this one is not part of the repository; the card is read all the same.
    match check(&Source::Path("factbook.yaml".into()), folder) {
        Ok(()) => {}
        Err(DataError::NoFiles { how, .. }) => assert!(how.unwrap().contains("npm install")),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn formats_are_told_by_extension() {
    for (name, format) in [
        ("a.JSONL", Format::JsonLines),
        ("a.ndjson", Format::JsonLines),
        ("a.csv", Format::Csv),
        ("a.parquet", Format::Parquet),
        ("a.md", Format::Text),
    ] {
        assert_eq!(Format::of(Path::new(name)).unwrap(), format);
    }
}
