//! A trainer on the software CUDA device: how often it waits. Without Linux or a C++ compiler there is no
//! device, and these tests say so and end.

mod waits;
