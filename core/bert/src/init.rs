//! First values of parameters.
//!
//! A parameter draws from its own stream `init/<name>`, so that two arms that share a parameter's
//! name and shape start it at the same values, whatever else differs between them.

use ablate_random::Stream;

use crate::{BertConfig, ParameterSpec, Role, WORD_EMBEDDINGS};

/// How weights and embeddings start. Biases start at 0, layer norms at factor 1 and summand 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// `N(0, std)`, as transformers.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// `N(0, std)` with values beyond two standard deviations drawn again, as Google's
    /// `truncated_normal_initializer` (the resulting deviation is 0.88 `std`).
    TruncatedNormal {
        /// Standard deviation before the truncation.
        std: f64,
    },
    /// All zero: the textbook failure.
    Zeros,
    /// All the same value: the other textbook failure, no two units ever differ.
    Constant(f32),
    /// Uniform in `±sqrt(6 / (in + out))`. Glorot, Bengio, "Understanding the difficulty of
    /// training deep feedforward neural networks", 2010.
    Xavier,
}

/// The first values of `spec`, row-major.
pub fn initial_values(spec: &ParameterSpec, init: &Init, seed: u64) -> Vec<f32> {
    let n = spec.elements();
    match spec.role {
        Role::Bias | Role::NormBias => return vec![0.0; n],
        Role::NormScale => return vec![1.0; n],
        Role::Weight | Role::Embedding => {}
    }
    let mut reader = Stream::new(seed, &format!("init/{}", spec.name)).reader();
    match *init {
        Init::Normal { std } => (0..n).map(|_| (std * reader.normal()) as f32).collect(),
        Init::TruncatedNormal { std } => (0..n)
            .map(|_| (std * reader.truncated_normal()) as f32)
            .collect(),
        Init::Zeros => vec![0.0; n],
        Init::Constant(value) => vec![value; n],
        Init::Xavier => {
            // As torch.nn.init: of `[out, in, ..]` the first two sizes are the fans.
            let fans: usize = spec.shape.iter().take(2).sum();
            let bound = (6.0 / fans.max(1) as f64).sqrt();
            (0..n)
                .map(|_| (bound * (2.0 * reader.uniform_f64() - 1.0)) as f32)
                .collect()
        }
    }
}

impl BertConfig {
    /// Like the free [`initial_values`], but the padding token's row of the word embedding is zero,
    /// as in transformers.
    pub fn initial_values(&self, spec: &ParameterSpec, init: &Init, seed: u64) -> Vec<f32> {
        let mut values = initial_values(spec, init, seed);
        if let (Some(pad), true) = (self.pad_token_id, spec.name == WORD_EMBEDDINGS) {
            let width = spec.shape.get(1).copied().unwrap_or(0);
            if let Some(row) = values.get_mut(pad * width..(pad + 1) * width) {
                row.fill(0.0);
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder_parameters;

    fn moments(values: &[f32]) -> (f64, f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let variance = values
            .iter()
            .map(|x| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let largest = values.iter().fold(0.0f64, |m, x| m.max(f64::from(x.abs())));
        (mean, variance.sqrt(), largest)
    }

    #[test]
    fn distributions_have_their_moments_and_bounds() {
        let spec = ParameterSpec::new("w", &[300, 200], Role::Weight);
        let (mean, std, largest) = moments(&initial_values(&spec, &Init::Normal { std: 0.02 }, 1));
        assert!(mean.abs() < 5e-4 && (std - 0.02).abs() < 2e-4 && largest > 0.06);
        let init = Init::TruncatedNormal { std: 0.02 };
        let (mean, std, largest) = moments(&initial_values(&spec, &init, 1));
        assert!(mean.abs() < 5e-4 && (std - 0.0176).abs() < 2e-4 && largest <= 0.04);
        let bound = (6.0f64 / 500.0).sqrt();
        let (_, std, largest) = moments(&initial_values(&spec, &Init::Xavier, 1));
        assert!((std - bound / 3f64.sqrt()).abs() < 1e-3 && largest <= bound * 1.000_001);
        assert!(largest > 0.99 * bound);
        assert_eq!(initial_values(&spec, &Init::Constant(0.5), 1)[7], 0.5);
        assert!(initial_values(&spec, &Init::Zeros, 1)
            .iter()
            .all(|x| *x == 0.0));
    }

    #[test]
    fn biases_and_norms_ignore_the_variant() {
        for (role, wanted) in [
            (Role::Bias, 0.0),
            (Role::NormBias, 0.0),
            (Role::NormScale, 1.0),
        ] {
            let spec = ParameterSpec::new("b", &[4], role);
            assert_eq!(
                initial_values(&spec, &Init::Constant(3.0), 1),
                vec![wanted; 4]
            );
        }
    }

    #[test]
    fn values_depend_on_name_and_seed_alone() {
        let init = Init::Normal { std: 1.0 };
        let a = ParameterSpec::new("a", &[8, 8], Role::Weight);
        let b = ParameterSpec::new("b", &[8, 8], Role::Weight);
        assert_eq!(initial_values(&a, &init, 1), initial_values(&a, &init, 1));
        assert_ne!(initial_values(&a, &init, 1), initial_values(&a, &init, 2));
        assert_ne!(initial_values(&a, &init, 1), initial_values(&b, &init, 1));
    }

    #[test]
    fn only_the_padding_row_of_the_word_embedding_is_zero() {
        let config = BertConfig {
            pad_token_id: Some(3),
            vocab_size: 6,
            ..BertConfig::preset("tiny").unwrap()
        };
        let init = Init::Normal { std: 1.0 };
        for spec in encoder_parameters(&config).iter().take(3) {
            let values = config.initial_values(spec, &init, 1);
            let zeros = values.iter().filter(|x| **x == 0.0).count();
            let wanted = if spec.name == WORD_EMBEDDINGS { 128 } else { 0 };
            assert_eq!(zeros, wanted, "{}", spec.name);
        }
        let none = BertConfig {
            pad_token_id: None,
            ..config
        };
        let words = &encoder_parameters(&none)[0];
        assert!(none
            .initial_values(words, &init, 1)
            .iter()
            .all(|x| *x != 0.0));
    }
}
