//! A number that survives being saved as JSON, bit for bit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An `f64` that is saved as its bits: JSON has no NaN or infinity, and its readers may round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exact(pub f64);

/// Equal bits, so that saved state can be compared even where it holds NaN.
impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.to_bits())
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|bits| Exact(f64::from_bits(bits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_number_comes_back() {
        for x in [
            0.1 + 0.2,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::MIN_POSITIVE / 3.0,
        ] {
            let text = serde_json::to_string(&Exact(x)).unwrap();
            assert_eq!(
                serde_json::from_str::<Exact>(&text).unwrap(),
                Exact(x),
                "{text}"
            );
        }
        assert_ne!(Exact(0.0), Exact(-0.0));
    }
}
