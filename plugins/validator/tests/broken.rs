//! Plugins that are broken in one way each, and the test that finds it.
//!
//! Each is a project as `ablate plugin new --lang c` makes it, with one piece of it replaced.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use ablate_host::Kind;
use ablate_validator::check::{check, Options, Report, Status, TestResult};
use ablate_validator::process::Limits;
use ablate_validator::scaffold::{Language, Project, Sdk};
use ablate_validator::Target;

/// Not a test: the process that the others start.
#[test]
fn worker_process() {
    common::worker();
}

/// A broken plugin.
struct Fault {
    name: &'static str,
    kind: Kind,
    /// A piece of the sound source, and what stands there instead.
    replace: (&'static str, &'static str),
    /// The test that finds it, how, and a part of what it says.
    found: (&'static str, Status, &'static str),
    /// A test that does not mind.
    unaffected: &'static str,
}

fn faults() -> Vec<Fault> {
    use Kind::{Objective, Operator, Optimizer, Schedule, StoppingRule};
    use Status::{Crashed, Failed};
    let fault = |name, kind, replace, found, unaffected| Fault {
        name,
        kind,
        replace,
        found,
        unaffected,
    };
    vec![
        fault("no_descriptor", Optimizer,
            ("return &plugin;", "return NULL;"),
            ("load", Failed, "refuses to work with this host"), ""),
        fault("wrong_magic", Optimizer,
            (".magic = ABLATE_PLUGIN_MAGIC", ".magic = 1"),
            ("load", Failed, "magic number"), ""),
        fault("wrong_size", Optimizer,
            (".struct_size = sizeof(ablate_optimizer_api)", ".struct_size = 16"),
            ("load", Failed, "announces 16 bytes"), ""),
        fault("crash_at_load", Optimizer,
            ("return &plugin;", "*(volatile int *)8 = 1; return &plugin;"),
            ("load", Crashed, "SIGSEGV"), ""),
        fault("another_descriptor", Optimizer,
            ("return &plugin;", "static ablate_plugin other; other = plugin; return abi_major == 1 && abi_minor == 0 ? &plugin : &other;"),
            ("entry", Failed, "another descriptor"), "schema"),
        fault("table_for_everything", Optimizer,
            ("ablate_equal(name, \"{}\") && ablate_equal(id, ABLATE_OPTIMIZER_API) ? &api : NULL", "(void)name, (void)id, &api"),
            ("extensions", Failed, "it should give null"), "schema"),
        fault("schema_of_no_type", Optimizer,
            ("\\\"type\\\":\\\"number\\\",\\\"exclusiveMinimum\\\"", "\\\"type\\\":\\\"float\\\",\\\"exclusiveMinimum\\\""),
            ("schema", Failed, "`type` is \"float\""), "scalars"),
        fault("crash_in_create", Optimizer,
            ("optimizer made = {host", "*(volatile int *)8 = 1; optimizer made = {host"),
            ("config-valid", Crashed, "in create with {}: it was ended by SIGSEGV"), "schema"),
        fault("exit_in_create", Optimizer,
            ("optimizer made = {host", "exit(0); optimizer made = {host"),
            ("config-valid", Crashed, "ended the whole process by itself, with exit code 0"), "schema"),
        // One byte of each piece: the bound is on addresses, and touching all of them would take longer
        // on a slow machine than an endless loop may.
        fault("hunger_in_create", Optimizer,
            ("optimizer made = {host", "for (;;) *(volatile char *)malloc(1 << 20) = 1; optimizer made = {host"),
            ("config-valid", Crashed, "out of memory"), "schema"),
        fault("loop_in_update", Optimizer,
            ("const ablate_graph_api *g = self->host", "for (volatile int i = 0; i < 1;) i *= 2; const ablate_graph_api *g = self->host"),
            ("build-time", Crashed, "endless loop"), "scalars"),
        fault("abort_on_bad_config", Optimizer,
            ("return fail(host, ABLATE_CONFIG, \"`learning_rate` is above 0\")", "abort()"),
            ("config-garbage", Crashed, "SIGABRT"), "config-valid"),
        fault("exception_leaves", Optimizer,
            ("return fail(host, ABLATE_CONFIG, \"`learning_rate` is above 0\")",
             "{ static struct _Unwind_Exception thrown; _Unwind_RaiseException(&thrown); abort(); }"),
            ("config-garbage", Crashed, "SIGABRT"), "config-valid"),
        fault("unknown_keys_are_taken", Optimizer,
            ("    if (!found) {", "    static double nowhere; static const key sink = {\"\", &nowhere};\n    if (!found) found = &sink;\n    if (!found) {"),
            ("config-garbage", Failed, "an unknown key is taken"), "config-valid"),
        fault("silent_refusal", Optimizer,
            ("return fail(host, ABLATE_CONFIG, \"`learning_rate` is above 0\")", "return ABLATE_CONFIG"),
            ("config-garbage", Failed, "without a message"), "config-valid"),
        fault("leak", Optimizer,
            (".destroy = free", ".destroy = keep"),
            ("create-destroy", Failed, "the process grows by"), "scalars"),
        fault("size_gate_ignored", Optimizer,
            ("static ablate_status base_learning_rate(void *instance, double *rate) {",
             "typedef struct later_host { ablate_host host; void (*later)(void); } later_host;\n\
              static ablate_status base_learning_rate(void *instance, double *rate) {\n\
              const later_host *later = (const later_host *)((optimizer *)instance)->host;\n\
              if (later->later) later->later();"),
            ("host-older", Crashed, "SIGSEGV"), "schema"),
        fault("size_must_be_equal", Optimizer,
            ("optimizer made = {host", "if (host->struct_size != sizeof *host) return fail(host, ABLATE_UNSUPPORTED, \"another host\"); optimizer made = {host"),
            ("host-newer", Failed, "another host"), "host-older"),
        fault("null_table_followed", Optimizer,
            ("if (!g) return fail(self->host, ABLATE_UNSUPPORTED, \"this host has no \" ABLATE_GRAPH_API);", ""),
            ("host-without-tables", Crashed, "without the host's table ablate.host.graph/1: it was ended by SIGSEGV"), "host-older"),
        fault("refusal_swallowed", Optimizer,
            ("ablate_status status = declare->scalar(into, ablate_text(\"learning_rate\"));\n  if (status == ABLATE_OK) status = declare->scalar(into, ablate_text(\"decay_factor\"));\n  return status;",
             "declare->scalar(into, ablate_text(\"learning_rate\"));\n  declare->scalar(into, ablate_text(\"decay_factor\"));\n  return ABLATE_OK;"),
            ("host-refuses", Crashed, "while the host refuses call"), "host-older"),
        fault("refusal_not_looked_at", Optimizer,
            ("ablate_tensor kept, momentum,", "g->push_scope(cx, ablate_text(\"momentum\"));\n  g->pop_scope(cx);\n  ablate_tensor kept, momentum,"),
            ("host-refuses", Failed, "as if nothing had happened"), "host-older"),
        fault("thread_bound", Optimizer,
            ("*rate = ((optimizer *)instance)->learning_rate;", "*rate = ((optimizer *)instance)->learning_rate; home = 1;"),
            ("threads", Failed, "on other threads"), "scalars"),
        fault("scalars_count_calls", Optimizer,
            ("values[0] = learning_rate;", "static double calls; values[0] = learning_rate / (1 + 1e-3 * calls++);"),
            ("scalars", Failed, "in another order"), "slots"),
        fault("momentum_in_the_instance", Optimizer,
            ("(void)step;\n", "optimizer *own = instance; (void)step; own->momentum *= 0.5; learning_rate *= own->momentum;\n"),
            ("save-load", Failed, "remembered outside of the slots"), "slots"),
        fault("no_descent", Optimizer,
            ("g->binary(cx, ABLATE_SUB, decayed, step,", "g->binary(cx, ABLATE_ADD, decayed, step,"),
            ("descent", Failed, "that is no descent"), "determinism"),
        fault("division_by_gradient", Optimizer,
            ("g->binary(cx, ABLATE_MUL, momentum, input->scalars[0], &step)", "g->binary(cx, ABLATE_DIV, input->scalars[0], momentum, &step)"),
            ("finite", Failed, "is not finite after step"), "determinism"),
        fault("labels_by_chance", Objective,
            ("random->words(batch->row_keys[row], 0,", "random->words((uint64_t)rand(), 0,"),
            ("data-determinism", Failed, "before and after another batch differ"), "gradient"),
        fault("words_beside_the_batch", Objective,
            ("*units = 0;", "*units = 0; batch->input_ids[cells] = 1;"),
            ("data-bounds", Crashed, "SIGSEGV"), "schema"),
        fault("words_in_front_of_the_batch", Objective,
            ("*units = 0;", "*units = 0; batch->input_ids[-1] = 1;"),
            ("data-bounds", Failed, "wrote in front of `input_ids`"), "gradient"),
        fault("writes_what_is_constant", Objective,
            ("*units = 0;", "*units = 0; *(int64_t *)batch->attention_mask = 1;"),
            ("data-bounds", Crashed, "SIGSEGV"), "data-determinism"),
        fault("too_many_labels", Objective,
            ("ablate_text(\"labels\"), labels, cells)", "ablate_text(\"labels\"), labels, cells - 1)"),
            ("data-units", Failed, "the batch needs"), "schema"),
        fault("special_tokens_hidden", Objective,
            ("batch->special_tokens_mask[at] || ", "(i > 0 && batch->special_tokens_mask[at]) || "),
            ("data-special-tokens", Failed, "the special token"), "data-determinism"),
        fault("units_counted_twice", Objective,
            ("*units += 1;", "*units += 2;"),
            ("data-units", Failed, "a mean over units would be wrong"), "data-determinism"),
        fault("weights_forgotten", Objective,
            ("g->cross_entropy(cx, logits, labels, weights, &losses)", "g->cross_entropy(cx, logits, labels, ABLATE_NO_TENSOR, &losses)"),
            ("loss-sum", Failed, "room for five more labels"), "data-units"),
        fault("infinite_gradient", Objective,
            ("if (s == ABLATE_OK) s = g->cross_entropy",
             "ablate_tensor zero, root;\n  if (s == ABLATE_OK) s = g->binary_scalar(cx, ABLATE_MUL, logits, 0, &zero);\n  \
              if (s == ABLATE_OK) s = g->unary(cx, ABLATE_SQRT, zero, &root);\n  if (s == ABLATE_OK) s = g->binary(cx, ABLATE_ADD, logits, root, &logits);\n  \
              if (s == ABLATE_OK) s = g->cross_entropy"),
            ("finite", Failed, "is not finite"), "data-units"),
        fault("not_a_number", Schedule,
            ("*factor = t < 1 ? t : 1 / sqrt(t);", "*factor = input->step == 1000 ? NAN : 1 / sqrt(t);"),
            ("schedule", Failed, "at step 1000"), "config-valid"),
        fault("factor_of_the_last_call", Schedule,
            ("*factor = t < 1 ? t : 1 / sqrt(t);", "static double last; *factor = last; last = t < 1 ? t : 1 / sqrt(t);"),
            ("schedule", Failed, "in another order"), "config-valid"),
        fault("state_forgotten", StoppingRule,
            ("self->rises = saved.rises;", ""),
            ("save-load", Failed, "another"), "determinism"),
        fault("state_believed", StoppingRule,
            ("if (length != sizeof saved)", "if (length == 12345)"),
            ("state-garbage", Crashed, "SIGSEGV"), "determinism"),
        fault("rows_unanswered", Operator,
            ("keep[row] = words >= self->words;", "if (row % 2) keep[row] = words >= self->words;"),
            ("rows", Failed, ""), "config-valid"),
        fault("batches_matter", Operator,
            ("keep[row] = words >= self->words;", "keep[row] = words >= self->words || row == 0;"),
            ("batch-sizes", Failed, "than in one batch"), "determinism"),
        fault("batch_taken_and_not_released", Operator,
            ("return ABLATE_OK;\n}\n\nstatic const ablate_operator_api", "batch->release = NULL;\n  return ABLATE_OK;\n}\n\nstatic const ablate_operator_api"),
            ("release", Failed, "never released"), "rows"),
    ]
}

/// What faults need beside their own piece.
const TOP: &str = "#include <unwind.h>\n";
const BEFORE_API: &str = "static _Thread_local int home;\n\
    static void keep(void *instance) { static char *volatile kept; (void)instance; kept = malloc(1 << 16); memset(kept, 1, 1 << 16); }\n";

fn build(
    folder: &Path,
    name: &str,
    kind: Kind,
    flags: &[&str],
    change: impl FnOnce(String) -> String,
) -> PathBuf {
    let project = Project::new(name, kind, Language::C).unwrap();
    let folder = folder.join(name);
    project.write(&folder, &Sdk::Version("0.0.0")).unwrap();
    let source = folder.join(format!("{name}.c"));
    fs::write(&source, change(fs::read_to_string(&source).unwrap())).unwrap();
    let library = folder.join(project.library());
    common::cc(&source, &library, flags);
    library
}

fn run(library: &Path, only: &[&str], seconds: u64) -> Report {
    let options = Options {
        only: only
            .iter()
            .filter(|t| !t.is_empty())
            .map(|t| (*t).to_owned())
            .collect(),
        configs: Default::default(),
        capabilities: vec![],
        limits: Limits {
            memory_bytes: Some(2 << 30),
            ..Limits::NONE.with_seconds(seconds)
        },
        jobs: 2,
    };
    check(
        &Target::Library(library.to_owned()),
        &options,
        &common::program(),
        &|_| {},
    )
    .unwrap()
}

fn result<'a>(report: &'a Report, test: &str) -> &'a TestResult {
    report
        .results
        .iter()
        .find(|r| r.test == test)
        .unwrap_or_else(|| panic!("{test}: {report:#?}"))
}

#[test]
fn sound_projects_in_c_pass_every_test() {
    let folder = common::temporary();
    for kind in Kind::ALL {
        let library = build(
            folder.path(),
            &format!("sound_{}", kind.word()),
            kind,
            common::STRICT,
            |source| source,
        );
        let report = run(&library, &[], 60);
        assert!(report.passed(), "{kind}: {:#?}", report.results);
        assert!(report.count(Status::Passed) > 10, "{kind}");
    }
}

#[test]
fn the_example_in_c_passes_every_test() {
    let folder = common::temporary();
    let source = common::plugins_folder().join("examples/c-plugin/plugin.c");
    let library = folder.path().join(common::library("c_plugin"));
    common::cc(&source, &library, common::STRICT);
    let report = run(&library, &[], 60);
    assert!(report.passed(), "{:#?}", report.results);
}

#[test]
fn every_fault_is_found_by_its_test() {
    let folder = common::temporary();
    let mut wrong = Vec::new();
    for fault in faults() {
        let Fault {
            name,
            kind,
            replace: (from, to),
            found: (test, status, part),
            unaffected,
        } = fault;
        let from = from.replace("{}", name);
        let library = build(folder.path(), name, kind, &["-w"], |source| {
            assert_eq!(source.matches(&from).count(), 1, "{name}: {from}");
            let source = source.replace(&from, to);
            let needs = |word: &str| to.contains(word);
            let mut whole = String::new();
            if needs("_Unwind") {
                whole.push_str(TOP);
            }
            whole.push_str(&source);
            if needs("keep\"") || needs("= keep") || needs("home") {
                let at = whole.find("/* ---- errors and the configuration").unwrap();
                let used = if needs("home") {
                    BEFORE_API.lines().next()
                } else {
                    BEFORE_API.lines().nth(1)
                };
                whole.insert_str(at, &format!("{}\n\n", used.unwrap()));
            }
            if needs("home") {
                let scalars = "const optimizer *self = instance;\n  (void)step;";
                assert_eq!(whole.matches(scalars).count(), 1);
                whole = whole.replace(
                    scalars,
                    "const optimizer *self = instance;\n  (void)step;\n  if (!home) return fail(self->host, ABLATE_INTERNAL, \"this is not my thread\");",
                );
            }
            whole
        });
        let report = run(&library, &[test, unaffected], 3);
        let result_of = result(&report, test);
        if result_of.status != status || !result_of.detail.contains(part) {
            wrong.push(format!(
                "{name}: {test} is {:?}: {}",
                result_of.status, result_of.detail
            ));
        }
        if !unaffected.is_empty() && result(&report, unaffected).status != Status::Passed {
            wrong.push(format!(
                "{name}: {unaffected} does not pass: {}",
                result(&report, unaffected).detail
            ));
        }
        println!(
            "{name:28} {test:20} {:?}: {}",
            result_of.status, result_of.detail
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
