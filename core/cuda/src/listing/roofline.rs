//! The least time that work can take on a device, from the device's data sheet.
//!
//! Roofline model (Williams, Waterman, Patterson, "Roofline", 2009): work takes as long as its bytes at full
//! memory bandwidth, or its operations at full rate, whichever is longer. Nothing here is measured.

use crate::Precision;

/// What a data sheet says of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataSheet {
    /// Name, with the form that the numbers are for.
    pub name: &'static str,
    /// Compute capability, 80 for 8.0.
    pub architecture: u32,
    /// Memory bandwidth in bytes a second.
    pub bytes_per_s: f64,
    /// Operations a second outside of tensor cores, and of products in single precision.
    pub f32_flops: f64,
    /// Of dense products on tensor cores with TF32 operands.
    pub tf32_flops: f64,
    /// Of dense products on tensor cores with bfloat16 operands and f32 sums.
    pub bf16_flops: f64,
}

/// NVIDIA A100 Tensor Core GPU data sheet, 40 GB SXM4.
pub const A100: DataSheet = DataSheet {
    name: "A100 SXM 40 GB",
    architecture: 80,
    bytes_per_s: 1555e9,
    f32_flops: 19.5e12,
    tf32_flops: 156e12,
    bf16_flops: 312e12,
};

/// NVIDIA H100 Tensor Core GPU data sheet, SXM5, without sparsity.
pub const H100: DataSheet = DataSheet {
    name: "H100 SXM",
    architecture: 90,
    bytes_per_s: 3350e9,
    f32_flops: 67e12,
    tf32_flops: 495e12,
    bf16_flops: 989e12,
};

/// The devices of an estimate.
pub const DEVICES: [DataSheet; 2] = [A100, H100];

/// What a launch must move and compute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes of operands and results, each once.
    pub bytes: f64,
    /// Operations of a kernel, outside of tensor cores.
    pub flops: f64,
    /// Operations of a matrix product.
    pub product_flops: f64,
}

impl DataSheet {
    /// Seconds that work takes at least, with matrix products in this precision. The bytes are those of the
    /// program: what is stored as bfloat16 counts half.
    pub fn seconds(&self, cost: &Cost, products: Precision) -> f64 {
        let rate = match products {
            Precision::F32 => self.f32_flops,
            Precision::Tf32 => self.tf32_flops,
            Precision::Bf16 => self.bf16_flops,
        };
        let compute = cost.flops / self.f32_flops + cost.product_flops / rate;
        compute.max(cost.bytes / self.bytes_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_moving_and_computing_counts() {
        // 1555 MB take a millisecond to move.
        let mut cost = Cost {
            bytes: 1555e6,
            flops: 1e6,
            product_flops: 0.0,
        };
        assert_eq!(A100.seconds(&cost, Precision::F32), 1e-3);
        // 156 GFLOP: 8 ms in f32, 1 ms in TF32, and in bf16 the bytes are what takes long.
        cost = Cost {
            bytes: 1555e6,
            flops: 0.0,
            product_flops: 156e9,
        };
        assert_eq!(A100.seconds(&cost, Precision::F32), 8e-3);
        assert_eq!(A100.seconds(&cost, Precision::Tf32), 1e-3);
        assert_eq!(A100.seconds(&cost, Precision::Bf16), 1e-3);
    }
}
