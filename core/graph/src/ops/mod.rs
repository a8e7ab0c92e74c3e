//! What models are written with. Everything here is made of the primitives of `crate::primitive`.

mod blocks;
mod compare;
mod elementwise;
mod index;
mod linear;
mod reduce;
mod smooth;
mod views;
