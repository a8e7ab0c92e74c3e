//! What an author of a plugin does: `ablate plugin new`, build, `check`, `describe`, train.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::crashes::plugin;
use crate::support::{json, keys, read, repository, Folder};

const KINDS: [&str; 5] = ["objective", "optimizer", "schedule", "stopping", "operator"];

/// Builds a crate that `ablate plugin new` wrote, and runs its test; gives the folder of the products. All crates
/// share one folder outside of this workspace, so that the SDK is built once.
fn cargo(crate_folder: &Path) -> PathBuf {
    // The same versions as the workspace's, which are at hand.
    std::fs::copy(
        repository().join("Cargo.lock"),
        crate_folder.join("Cargo.lock"),
    )
    .unwrap();
    let products = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors");
    for arguments in [&["test", "--release"][..], &["build", "--release"]] {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .args(["--offline", "--quiet"])
            .current_dir(crate_folder)
            .env("CARGO_TARGET_DIR", &products)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    products.join("release")
}

/// The numbers of a check's summary.
fn summary(report: &Value) -> [u64; 4] {
    ["passed", "failed", "crashed", "skipped"].map(|key| report["summary"][key].as_u64().unwrap())
}

/// A trial of `try.yaml` that ended as it should.
fn trained(project: &Path, name: &str) {
    let result = json(project.join(format!("runs/{name}/trials/baseline/seed-1/result.json")));
    assert_eq!(result["status"], "finished", "{result}");
    assert!(result["steps"].as_u64().unwrap() > 0);
    assert!(read(project.join(format!("runs/{name}/report.md"))).contains("baseline"));
}

#[test]
fn a_crate_of_every_kind_builds_passes_its_check_and_trains() {
    let folder = Folder::new();
    for kind in KINDS {
        let name = format!("my-{kind}");
        let done = folder
            .ablate(&["plugin", "new", &name, "--kind", kind])
            .exits(0);
        for part in [
            "src/lib.rs",
            "cargo build --release",
            "the checkout that this program was built from",
        ] {
            assert!(done.stdout.contains(part), "{part}: {done}");
        }
        let project = folder.path(&name);
        assert!(read(project.join("README.md")).lines().count() <= 14);
        let products = cargo(&project);
        let snake = name.replace('-', "_");
        let file = format!(
            "{}{snake}{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        );
        // Where the README has it.
        let built = project.join("target/release");
        std::fs::create_dir_all(&built).unwrap();
        std::fs::copy(products.join(&file), built.join(&file)).unwrap();
        let library = built.join(&file);
        let library = library.to_str().unwrap();
        let check = folder.ablate(&["plugin", "check", library, "--json"]);
        let report: Value =
            serde_json::from_str(&check.stdout).unwrap_or_else(|e| panic!("{e}: {check}"));
        assert_eq!(summary(&report)[1..3], [0, 0], "{check}");
        check.exits(0);
        // As the README says, in the project's own folder.
        let output = crate::support::ablate(&["run", "try.yaml", "--quiet"])
            .current_dir(&project)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{kind}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        trained(&project, &name);
        assert!(read(project.join(format!("runs/{name}/recipe.yaml"))).contains(&snake));
    }
}

#[test]
fn a_c_file_of_every_kind_trains() {
    let folder = Folder::new();
    for kind in KINDS {
        let name = format!("my_{kind}");
        plugin(&folder, &name, kind, &[]);
        let project = folder.path(&name);
        for file in ["ablate_plugin.h", "Makefile", "README.md", "try.yaml"] {
            assert!(project.join(file).exists(), "{file}");
        }
        let header = repository().join("plugins/abi/include/ablate_plugin.h");
        assert_eq!(read(project.join("ablate_plugin.h")), read(header));
        let output = crate::support::ablate(&["run", "try.yaml", "--quiet"])
            .current_dir(&project)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{kind}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        trained(&project, &name);
    }
}

#[test]
fn a_new_project_needs_a_good_name_a_kind_and_room() {
    let folder = Folder::new();
    for (arguments, part) in [
        (&["Lion", "--kind", "optimizer"][..], "begins with a letter"),
        (
            &["adamw", "--kind", "optimizer"],
            "built-in optimizer called `adamw`",
        ),
        (
            &["lion", "--kind", "optimiser"],
            "did you mean `optimizer`?",
        ),
        (
            &["my-lion", "--kind", "optimizer", "--path", "."],
            "not empty",
        ),
    ] {
        let done = folder
            .ablate(&[&["plugin", "new"], arguments].concat())
            .exits(2);
        assert!(done.stderr.contains(part), "{part}: {done}");
    }
    assert!(!folder.path("lion").exists());
}

#[test]
fn a_check_tells_crashes_from_failures_and_ends_with_1() {
    let folder = Folder::new();
    let library = plugin(
        &folder,
        "broken",
        "stopping",
        &[
            ("self->rises = saved.rises;", ""),
            ("if (length != sizeof saved)", "if (length == 12345)"),
        ],
    );
    let library = library.to_str().unwrap();
    let done = folder
        .ablate(&["plugin", "check", library, "--failed"])
        .exits(1);
    assert!(done.stdout.contains("FAILED   save-load"), "{done}");
    assert!(done.stdout.contains("CRASHED  state-garbage"), "{done}");
    assert!(done.stdout.contains("SIGSEGV"), "{done}");
    assert!(!done.stdout.contains("  passed "), "{done}");
    let done = folder
        .ablate(&[
            "plugin",
            "check",
            library,
            "--json",
            "--only",
            "save-load",
            "--only",
            "determinism",
        ])
        .exits(1);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        keys(&report),
        [
            "ablate",
            "library",
            "passed",
            "summary",
            "capabilities",
            "results"
        ]
    );
    assert_eq!(summary(&report), [1, 1, 0, 0], "{done}");
    let results = report["results"].as_array().unwrap();
    assert_eq!(
        keys(&results[0]),
        ["test", "capability", "kind", "status", "detail", "seconds"]
    );
    let statuses: Vec<_> = results.iter().map(|r| (&r["test"], &r["status"])).collect();
    assert_eq!(
        serde_json::json!(statuses),
        serde_json::json!([["determinism", "passed"], ["save-load", "failed"]])
    );
}

#[test]
fn the_tests_are_listed_and_wrong_words_are_answered() {
    let folder = Folder::new();
    let list = folder
        .ablate(&["plugin", "check", "--list"])
        .exits(0)
        .stdout;
    for test in [
        "load",
        "config-garbage",
        "host-older",
        "save-load",
        "gradient",
        "release",
        "fusion",
    ] {
        assert!(
            list.lines()
                .any(|l| l.split_whitespace().next() == Some(test)),
            "{test}: {list}"
        );
    }
    let as_json: Value = serde_json::from_str(
        &folder
            .ablate(&["plugin", "check", "--list", "--json"])
            .exits(0)
            .stdout,
    )
    .unwrap();
    assert_eq!(as_json.as_array().unwrap().len(), list.lines().count() - 1);
    for (arguments, part) in [
        (
            &["--built-in", "--only", "save-laod"][..],
            "did you mean `save-load`?",
        ),
        (
            &["--built-in", "--capability", "patiense"],
            "did you mean `patience`?",
        ),
        (
            &["--built-in", "--config", "adamw"],
            "write NAME={key: value}",
        ),
        (&["nowhere.so"], "nowhere.so"),
        (&[], "--built-in"),
    ] {
        let done = folder
            .ablate(&[&["plugin", "check"], arguments].concat())
            .exits(2);
        assert!(done.stderr.contains(part), "{part}: {done}");
    }
    // A configuration by hand is what the tests then use.
    let with = |config: &str| {
        folder.ablate(&[
            "plugin",
            "check",
            "--built-in",
            "--capability",
            "sgd",
            "--only",
            "slots",
            "--config",
            config,
        ])
    };
    assert!(with("sgd={momentum: 0.9}")
        .exits(0)
        .stdout
        .contains("1 slot a parameter"));
    assert!(with("sgd={}")
        .exits(0)
        .stdout
        .contains("0 slots a parameter"));
    assert!(with("sgd={momentum: -1}")
        .exits(1)
        .stdout
        .contains("momentum"));
}

#[test]
fn a_description_says_what_an_expression_costs() {
    let folder = Folder::new();
    let library = plugin(&folder, "momentum", "optimizer", &[]);
    let library = library.to_str().unwrap();
    let text = folder
        .ablate(&["plugin", "describe", library])
        .exits(0)
        .stdout;
    for part in [
        "optimizer momentum",
        "sha256",
        "learning_rate [0.01]",
        "1.00 kernels a parameter",
        "times that of `sgd`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let described = folder
        .ablate(&[
            "plugin",
            "describe",
            "--built-in",
            "--capability",
            "mlm",
            "--json",
        ])
        .exits(0);
    let described: Value = serde_json::from_str(&described.stdout).unwrap();
    let cost = &described[0]["cost"];
    assert!(cost["kernels_forward"].as_u64().unwrap() > 0, "{cost}");
    assert!(cost["kernels_backward"].as_u64().unwrap() > 0, "{cost}");
    assert_eq!(cost["beside"], "mlm");
    assert!(cost["ratio"].as_f64().unwrap() > 0.0);
    let list = folder.ablate(&["plugin", "list", library]).exits(0).stdout;
    assert!(list.contains("momentum"), "{list}");
}
