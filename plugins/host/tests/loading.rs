//! Shared libraries: the built-ins through the other door, plugins from outside the workspace in Rust
//! and C, and files that are no plugins.

mod common;

use std::path::{Path, PathBuf};

use ablate_bert::{ParameterSpec, Role};
use ablate_host::{HostError, Kind, Origin, Registry};
use ablate_train::graphs::update_variant;
use ablate_train::{Decision, Event, Optimizer as _, Split, StoppingRule};
use common::{assert_close, build_folder, cargo, cc, gradients, plugins_folder, trajectory};
use serde_json::json;

/// The crates of the built-in plugins, `ablate-adamw` and so on, in the order of the list.
fn crates() -> Vec<&'static str> {
    ablate_builtins::PLUGINS
        .iter()
        // SAFETY: a descriptor's texts are constant.
        .map(|plugin| unsafe { plugin.name.get() }.unwrap())
        .collect()
}

fn library(name: &str) -> String {
    format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    )
}

#[test]
fn built_ins_are_the_same_through_both_doors() {
    let mut arguments = vec!["--examples".to_owned()];
    for name in crates() {
        arguments.extend(["-p".to_owned(), name.to_owned()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cargo(&arguments, &plugins_folder());

    let linked = Registry::with_builtins().unwrap();
    let mut loaded = Registry::new();
    for name in crates() {
        let file = library(&format!("{}_plugin", name.replace('-', "_")));
        loaded
            .load_path(&build_folder().0.join("examples").join(file))
            .unwrap();
    }
    assert_eq!(loaded.catalogue().len(), linked.catalogue().len());
    for (a, b) in linked.catalogue().iter().zip(loaded.catalogue()) {
        let Origin::File { path, sha256 } = &b.origin else {
            panic!("{} is linked", b.name)
        };
        assert!(
            path.is_absolute() && sha256.len() == 64,
            "{path:?} {sha256}"
        );
        let mut same = b.clone();
        same.origin = a.origin.clone();
        assert_eq!(*a, same);
    }

    // The nodes that an optimizer builds are the same, one for one, and so are its numbers of a step:
    // the same bits.
    let specs = [
        ParameterSpec::new("bert.a.weight", &[3, 4], Role::Weight),
        ParameterSpec::new("bert.a.bias", &[4], Role::Bias),
    ];
    let optimizers = linked.catalogue().iter();
    for entry in optimizers.filter(|e| e.kind == Kind::Optimizer) {
        let config = json!({"learning_rate": 0.1, "weight_decay": 0.1});
        let work = |registry: &Registry| {
            let mut optimizer = registry.make_optimizer(&entry.name, &config).unwrap();
            let graphs: Vec<_> = (0..optimizer.variants())
                .map(|variant| {
                    let built = update_variant(&specs, &mut optimizer, Some(1.0), variant);
                    let (graph, slots) = built.unwrap();
                    (graph.lower().unwrap(), slots)
                })
                .collect();
            let numbers: Vec<_> = (1..=12)
                .map(|step| {
                    let scalars = optimizer.scalars(step, 0.1 / step as f64).unwrap();
                    (optimizer.variant(step).unwrap(), scalars)
                })
                .collect();
            (graphs, numbers)
        };
        assert_eq!(work(&linked), work(&loaded), "{}", entry.name);
    }
    // And so are the numbers of an objective's host hook.
    let mask = |registry: &Registry| {
        let mut batch = common::batch(8, 8, 20, 24, 4);
        let mut mlm = registry.make_objective("mlm", &json!({})).unwrap();
        ablate_train::Objective::prepare(&mut mlm, &mut batch).unwrap();
        batch
    };
    assert_eq!(mask(&linked), mask(&loaded));

    // A built-in and its library cannot both be there: both origins are named.
    let mut both = linked;
    let file = library("ablate_sgd_plugin");
    let error = both
        .load_path(&build_folder().0.join("examples").join(&file))
        .unwrap_err();
    assert!(matches!(error, HostError::Duplicate { .. }));
    let text = error.to_string();
    assert!(
        text.contains("called `sgd`: one built in, one from") && text.contains(&file),
        "{text}"
    );
}

#[test]
fn a_rust_plugin_from_outside_the_workspace() {
    let folder = plugins_folder().join("examples/rust-plugin");
    // The same versions as the workspace's, which are at hand.
    let lock = folder.join("Cargo.lock");
    if !lock.exists() {
        std::fs::copy(plugins_folder().join("../Cargo.lock"), lock).unwrap();
    }
    cargo(&[], &folder);
    let mut registry = Registry::with_builtins().unwrap();
    let path = build_folder().0.join(library("signum_plugin"));
    registry.load_path(&path).unwrap();
    registry.load_path(&path).unwrap(); // once more is no error
    let mut signum = registry
        .make_optimizer("signum", &json!({"weight_decay": 0.5}))
        .unwrap();
    assert_eq!(signum.base_learning_rate(), 1e-4);

    let (start, rate, steps) = ([0.5f32, -2.0, 1.0], 0.01, gradients(8, 3));
    let found = trajectory(&mut signum, &start, &steps, rate, true);
    let mut p: Vec<f64> = start.iter().map(|x| f64::from(*x)).collect();
    let mut m = [0.0; 3];
    for (g, found) in steps.iter().zip(&found) {
        for i in 0..3 {
            let g = f64::from(g[i]);
            m[i] = 0.9 * m[i] + 0.1 * g;
            p[i] = p[i] * (1.0 - rate * 0.5) - rate * m[i].signum();
        }
        assert_close(found, &p, 1e-6, "signum");
    }
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_c_plugin_with_two_capabilities() {
    let folder = temporary();
    let source = plugins_folder().join("examples/c-plugin/plugin.c");
    cc(&source, &folder.path().join(library("c_plugin")), &[]);
    let mut registry = Registry::with_builtins().unwrap();
    registry.load_path(folder.path()).unwrap(); // the whole folder
    assert_eq!(
        registry
            .find(Kind::StoppingRule, "token_budget")
            .unwrap()
            .plugin,
        "c-plugin"
    );

    let mut sign = registry
        .make_optimizer("sign_descent", &json!({"learning_rate": 0.5}))
        .unwrap();
    assert_eq!(sign.base_learning_rate(), 0.5);
    let found = trajectory(
        &mut sign,
        &[1.0, 2.0],
        &[vec![0.3, -9.0], vec![0.0, 1e-6]],
        0.5,
        true,
    );
    assert_eq!(found, [[0.5, 2.5], [0.5, 2.0]]);
    let error = registry.check(
        Kind::Optimizer,
        "sign_descent",
        &json!({"learning_rate": -1}),
    );
    assert!(error
        .unwrap_err()
        .to_string()
        .contains("`learning_rate` is a number above 0"));

    let mut rule = registry
        .make_stopping_rule("token_budget", &json!({"tokens": 1000}))
        .unwrap();
    let mut see = |tokens| {
        rule.observe(&Event {
            step: 1,
            tokens,
            flops: 0.0,
            seconds: 0.0,
            split: Split::Train,
            metrics: &[],
        })
        .unwrap()
    };
    assert_eq!(see(999), Decision::Continue);
    let reason = "1000 tokens are seen, the budget was 1000".to_owned();
    assert_eq!(see(1000), Decision::Stop { reason });
    let state = rule.save().unwrap();
    rule.load(&state).unwrap();
    assert!(rule
        .load(b"?")
        .unwrap_err()
        .to_string()
        .contains("unreadable state (status 5"));
}

fn load(path: &Path) -> HostError {
    Registry::new().load_path(path).unwrap_err()
}

/// A library of one C function body for the entry.
fn broken(folder: &Path, name: &str, entry: &str) -> PathBuf {
    let (source, built) = (folder.join(format!("{name}.c")), folder.join(library(name)));
    std::fs::write(&source, format!("#include \"ablate_plugin.h\"\n{entry}\n")).unwrap();
    cc(&source, &built, &[]);
    built
}

#[test]
fn files_that_are_no_plugins_are_refused_with_advice() {
    let folder = temporary();
    let folder = folder.path();
    let missing = load(&folder.join("nowhere.so"));
    assert!(matches!(missing, HostError::Unreadable { .. }), "{missing}");
    assert!(missing.to_string().contains("nowhere.so") && missing.to_string().contains("plugins:"));

    let empty = folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(matches!(load(&empty), HostError::EmptyFolder { .. }));

    let text = folder.join("notes.so");
    std::fs::write(&text, "this is no library").unwrap();
    let error = load(&text);
    assert!(matches!(error, HostError::NotALibrary { .. }), "{error}");
    assert!(error.to_string().contains("cc -shared -fPIC"), "{error}");

    let error = load(&broken(folder, "stranger", "int other(void) { return 0; }"));
    assert!(matches!(error, HostError::MissingEntry { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("does not export `ablate_plugin_entry`"),
        "{error}"
    );

    let entry = "const ablate_plugin *ablate_plugin_entry(uint32_t a, uint32_t b) { (void)a, (void)b; return";
    let error = load(&broken(folder, "shy", &format!("{entry} 0; }}")));
    assert!(
        matches!(
            error,
            HostError::Refused {
                major: 1,
                minor: 0,
                ..
            }
        ),
        "{error}"
    );

    let with = |name: &str, fields: &str| {
        let source =
            format!("static const ablate_plugin plugin = {{{fields}}};\n{entry} &plugin; }}");
        load(&broken(folder, name, &source))
    };
    let error = with("zeros", "0");
    assert!(
        matches!(error, HostError::BadMagic { found: 0, .. }),
        "{error}"
    );
    let error = with(
        "old",
        ".magic = ABLATE_PLUGIN_MAGIC, .abi_major = 0, .abi_minor = 7",
    );
    assert!(
        matches!(
            error,
            HostError::WrongMajor {
                plugin_major: 0,
                plugin_minor: 7,
                ..
            }
        ),
        "{error}"
    );
    let error = with(
        "small",
        ".magic = ABLATE_PLUGIN_MAGIC, .abi_major = 1, .struct_size = 24",
    );
    assert!(
        matches!(
            error,
            HostError::TooSmall {
                found: 24,
                needed: 112,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("libsmall") || error.to_string().contains("small"),
        "{error}"
    );
}
