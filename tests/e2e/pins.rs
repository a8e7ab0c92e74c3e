//! Which binary a plugin was: hashes in the record, pins in the recipe.

use std::fs;
use std::process::Command;

use crate::crashes::{plugin, with_plugin, ADAMW};
use crate::support::{json, read, Folder};

/// SHA-256 of a file, by somebody else.
fn sha256(folder: &Folder, path: &str) -> String {
    let output = Command::new("sha256sum")
        .arg(folder.path(path))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_record_and_the_cache_know_the_binary_and_a_pin_refuses_another() {
    let folder = Folder::new();
    let library = plugin(&folder, "mine", "optimizer", &[]);
    let library = library.display().to_string();
    let hash = sha256(&folder, &library);
    // Pinned, in capitals as some tools print it.
    with_plugin(
        &folder,
        "pinned.yaml",
        std::path::Path::new(&format!(
            "{{path: {library}, sha256: {}}}",
            hash.to_uppercase()
        )),
        &[(ADAMW, "optimizer: {mine: {learning_rate: 0.01}}")],
    );
    let run = |more: &[&str]| {
        let arguments = [&["run", "pinned.yaml", "--seed", "1", "--quiet"], more].concat();
        folder.ablate(&arguments)
    };
    run(&[]).exits(0);
    let result = json(folder.trial("runs", "baseline", 1).join("result.json"));
    assert_eq!(result["plugins"][0]["name"], "mine");
    assert_eq!(result["plugins"][0]["sha256"], hash.as_str());
    let environment = json(folder.path("runs/tiny/environment.json"));
    assert_eq!(environment["plugins"][0]["sha256"], hash.as_str());
    assert_eq!(environment["plugins"][0]["plugin"], "mine");
    // The resolved recipe keeps the pin.
    let resolved = read(folder.path("runs/tiny/recipe.yaml"));
    assert!(resolved.contains(&hash.to_uppercase()), "{resolved}");

    // Another binary that does the same: nothing of it is run.
    let file = folder.path(&library);
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend_from_slice(b"another build");
    fs::write(&file, bytes).unwrap();
    let done = run(&[]).exits(2);
    let other = sha256(&folder, &library);
    for part in [
        "pinned.yaml:4:11",
        &format!("has the SHA-256 {other}"),
        "is pinned, so nothing of it was run",
        "Nothing was run.",
    ] {
        assert!(done.stderr.contains(part), "{part}: {done}");
    }
    // Without the pin it may run, but its trials are not the finished ones.
    let text = read(folder.path("pinned.yaml"));
    let pin = format!("{{path: {library}, sha256: {}}}", hash.to_uppercase());
    folder.write("pinned.yaml", text.replace(&pin, &library));
    let done = run(&[]).exits(1);
    assert!(done.stderr.contains("another build of a plugin"), "{done}");
    run(&["--fresh"]).exits(0);
}

#[test]
fn what_a_pin_must_be() {
    let folder = Folder::new();
    let library = plugin(&folder, "mine", "optimizer", &[]);
    let named = |pin: &str| {
        with_plugin(&folder, "recipe.yaml", std::path::Path::new(pin), &[]);
        let done = folder.ablate(&["run", "recipe.yaml"]).exits(2);
        done.stderr
    };
    let digits = "0".repeat(64);
    let short = named(&format!("{{path: {}, sha256: abc}}", library.display()));
    assert!(short.contains("recipe.yaml:4:"), "{short}");
    assert!(
        short.contains("`plugins.0.sha256` is no SHA-256"),
        "{short}"
    );
    let letters = "z".repeat(64);
    let letters = named(&format!(
        "{{path: {}, sha256: {letters}}}",
        library.display()
    ));
    assert!(
        letters.contains("`plugins.0.sha256` is no SHA-256"),
        "{letters}"
    );
    let nowhere = named(&format!("{{path: mime/mime.so, sha256: '{digits}'}}"));
    assert!(nowhere.contains("does not exist"), "{nowhere}");
    let inside = named(&format!("{{path: mine, sha256: '{digits}'}}"));
    assert!(inside.contains("a SHA-256 pins one library"), "{inside}");
    let key = named(&format!("{{path: {}, sha: '{digits}'}}", library.display()));
    assert!(key.contains("did you mean `sha256`"), "{key}");
}

#[test]
fn a_plugin_may_come_from_the_command_line() {
    let folder = Folder::new();
    let library = plugin(&folder, "mine", "optimizer", &[]);
    let recipe = crate::support::TINY.replace(ADAMW, "optimizer: {mine: {learning_rate: 0.01}}");
    folder.write("recipe.yaml", recipe);
    let run = |more: &[&str]| {
        let arguments = [&["run", "recipe.yaml", "--seed", "1", "--quiet"], more].concat();
        folder.ablate(&arguments)
    };
    let unknown = run(&[]).exits(2);
    assert!(
        unknown.stderr.contains("unknown optimizer `mine`"),
        "{unknown}"
    );
    let library = library.display().to_string();
    run(&["--plugin", &library]).exits(0);
    let resolved = read(folder.path("runs/tiny/recipe.yaml"));
    assert!(resolved.contains("mine/mine"), "{resolved}");
    let nowhere = run(&["--plugin", "mime"]).exits(2);
    assert!(
        nowhere.stderr.contains("the plugin `mime` does not exist"),
        "{nowhere}"
    );
}
