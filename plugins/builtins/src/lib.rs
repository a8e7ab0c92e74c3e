//! The plugins that are linked into the program, so that a fresh clone runs.
//!
//! Owns: the list, and nothing else. Each entry is the descriptor that the plugin's shared library
//! returns too; there is no private door.

use ablate_abi::Plugin;

/// Every built-in plugin.
pub static PLUGINS: &[&Plugin] = &[
    &ablate_mlm::PLUGIN,
    &ablate_nsp::PLUGIN,
    &ablate_sop::PLUGIN,
    &ablate_rtd::PLUGIN,
    &ablate_simcse::PLUGIN,
    &ablate_distill::PLUGIN,
    &ablate_adafactor::PLUGIN,
    &ablate_adagrad::PLUGIN,
    &ablate_adam::PLUGIN,
    &ablate_adamw::PLUGIN,
    &ablate_lamb::PLUGIN,
    &ablate_lion::PLUGIN,
    &ablate_muon::PLUGIN,
    &ablate_rmsprop::PLUGIN,
    &ablate_sgd::PLUGIN,
    &ablate_shampoo::PLUGIN,
    &ablate_warmup::PLUGIN,
    &ablate_one_cycle::PLUGIN,
    &ablate_wsd::PLUGIN,
    &ablate_max_steps::PLUGIN,
    &ablate_max_tokens::PLUGIN,
    &ablate_max_flops::PLUGIN,
    &ablate_max_seconds::PLUGIN,
    &ablate_converged::PLUGIN,
    &ablate_patience::PLUGIN,
    &ablate_target_loss::PLUGIN,
    &ablate_diverged::PLUGIN,
    &ablate_exact_dedup::PLUGIN,
    &ablate_words::PLUGIN,
    &ablate_repetition::PLUGIN,
];
