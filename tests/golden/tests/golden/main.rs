//! Ablate against PyTorch: logits, losses, every gradient, ten optimizer steps; and model folders
//! that transformers wrote.

mod adamw;
mod built_ins;
mod case;
mod compare;
mod engine;
mod folder;
mod heads;
mod model;
mod objectives;
mod optimizers;
mod optimizers_on_cuda;
mod plugins;
mod trainer;
