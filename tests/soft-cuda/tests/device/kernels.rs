//! Correct kernels: the same bits in every thread order, and the numbers of a plain computation.

use crate::support::{assert_near, child, device, numbers, shape, Device, CORRECT};
use ablate_soft_cuda::{rerun, test_name, Counts};
use cudarc::driver::{LaunchConfig, PushKernelArg};

fn axpy(d: &Device) -> Vec<f32> {
    let n = 1000;
    let (x, y) = (numbers("x", n), numbers("y", n));
    let expected: Vec<f64> = x
        .iter()
        .zip(&y)
        .map(|(x, y)| f64::from(1.5f32) * f64::from(*x) + f64::from(*y))
        .collect();
    let x = d.stream.clone_htod(&x).unwrap();
    let mut found = vec![];
    for (kernel, items) in [("axpy", n as i32), ("axpy4", n as i32 / 4)] {
        let mut y = d.stream.clone_htod(&y).unwrap();
        let kernel = d.kernel(CORRECT, kernel);
        let mut launch = d.stream.launch_builder(&kernel);
        launch.arg(&1.5f32).arg(&x).arg(&mut y).arg(&items);
        unsafe { launch.launch(shape((items as u32).div_ceil(128), 128, 0)) }.unwrap();
        let y = d.stream.clone_dtoh(&y).unwrap();
        assert_near(&y, &expected, 1e-6);
        found.extend(y);
    }
    found
}

fn row_sum(d: &Device) -> Vec<f32> {
    let (rows, cols, width) = (5, 700, 700i32);
    let x = numbers("x", rows * cols);
    let expected: Vec<f64> = x
        .chunks(cols)
        .map(|r| r.iter().map(|v| f64::from(*v)).sum())
        .collect();
    let x = d.stream.clone_htod(&x).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(rows).unwrap();
    let kernel = d.kernel(CORRECT, "row_sum");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&x).arg(&mut y).arg(&width);
    unsafe { launch.launch(shape(rows as u32, 256, 0)) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    assert_near(&y, &expected, 1e-5);
    y
}

fn transpose(d: &Device) -> Vec<f32> {
    let (rows, cols, height, width) = (45, 70, 45i32, 70i32);
    let x = numbers("x", rows * cols);
    let device_x = d.stream.clone_htod(&x).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(rows * cols).unwrap();
    let kernel = d.kernel(CORRECT, "transpose");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&device_x).arg(&mut y).arg(&height).arg(&width);
    let config = LaunchConfig {
        grid_dim: (3, 2, 1),
        block_dim: (32, 8, 1),
        shared_mem_bytes: 0,
    };
    unsafe { launch.launch(config) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    for row in 0..rows {
        for col in 0..cols {
            assert_eq!(y[col * rows + row], x[row * cols + col]);
        }
    }
    y
}

fn softmax(d: &Device) -> Vec<f32> {
    let (rows, cols, width) = (4, 300, 300i32);
    let x = numbers("x", rows * cols);
    let mut expected = vec![];
    for row in x.chunks(cols) {
        let high = row.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = row.iter().map(|v| f64::from(v - high).exp()).collect();
        let sum: f64 = powers.iter().sum();
        expected.extend(powers.iter().map(|p| p / sum));
    }
    let x = d.stream.clone_htod(&x).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(rows * cols).unwrap();
    let kernel = d.kernel(CORRECT, "softmax");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&x).arg(&mut y).arg(&width);
    unsafe { launch.launch(shape(rows as u32, 128, cols as u32 * 4)) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    assert_near(&y, &expected, 1e-7);
    y
}

fn scale_bf16(d: &Device) -> Vec<f32> {
    // Every bfloat16 there is, times a power of two: exact, but where it underflows.
    let x: Vec<u16> = (0..=u16::MAX).collect();
    let device_x = d.stream.clone_htod(&x).unwrap();
    let mut y = d.stream.alloc_zeros::<u16>(x.len()).unwrap();
    let kernel = d.kernel(CORRECT, "scale_bf16");
    let mut launch = d.stream.launch_builder(&kernel);
    launch
        .arg(&device_x)
        .arg(&mut y)
        .arg(&2.0f32)
        .arg(&65536i32);
    unsafe { launch.launch(shape(256, 256, 0)) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    let wide = |bits: u16| f32::from_bits(u32::from(bits) << 16);
    for (x, y) in x.iter().zip(&y) {
        let expected = 2.0 * wide(*x);
        assert!(
            wide(*y) == expected || wide(*y).is_nan() && expected.is_nan(),
            "{x:#x}"
        );
    }
    y.iter().map(|bits| f32::from(*bits)).collect()
}

fn histogram(d: &Device) -> Vec<f32> {
    let x: Vec<i32> = (0..500).map(|i| i * i % 16).collect();
    let device_x = d.stream.clone_htod(&x).unwrap();
    let mut bins = d.stream.alloc_zeros::<i32>(16).unwrap();
    let kernel = d.kernel(CORRECT, "histogram");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&device_x).arg(&mut bins).arg(&500i32);
    unsafe { launch.launch(shape(4, 128, 0)) }.unwrap();
    let bins = d.stream.clone_dtoh(&bins).unwrap();
    for (bin, count) in bins.iter().enumerate() {
        assert_eq!(
            *count as usize,
            x.iter().filter(|v| **v == bin as i32).count()
        );
    }
    bins.iter().map(|count| *count as f32).collect()
}

fn grid_sum(d: &Device) -> Vec<f32> {
    let x = numbers("x", 1000);
    let expected: f64 = x.iter().map(|v| f64::from(*v)).sum();
    let x = d.stream.clone_htod(&x).unwrap();
    let mut partial = d.stream.alloc_zeros::<f32>(8).unwrap();
    let mut finished = d.stream.alloc_zeros::<u32>(1).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(1).unwrap();
    let kernel = d.kernel(CORRECT, "grid_sum");
    let mut launch = d.stream.launch_builder(&kernel);
    launch
        .arg(&x)
        .arg(&mut partial)
        .arg(&mut finished)
        .arg(&mut y)
        .arg(&1000i32);
    unsafe { launch.launch(shape(8, 128, 0)) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    assert_near(&y, &[expected], 1e-5);
    y
}

fn mma(d: &Device) -> Vec<f32> {
    // Small whole numbers, which bfloat16 holds exactly.
    let a: Vec<f32> = (0..256).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..128).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
    let pack = |values: &[f32]| -> Vec<u32> {
        let half = |v: f32| v.to_bits() >> 16;
        values
            .chunks(2)
            .map(|pair| half(pair[1]) << 16 | half(pair[0]))
            .collect()
    };
    let (da, db) = (
        d.stream.clone_htod(&pack(&a)).unwrap(),
        d.stream.clone_htod(&pack(&b)).unwrap(),
    );
    let mut product = d.stream.alloc_zeros::<f32>(128).unwrap();
    let kernel = d.kernel(CORRECT, "mma_bf16");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&da).arg(&db).arg(&mut product);
    unsafe { launch.launch(shape(1, 32, 0)) }.unwrap();
    let product = d.stream.clone_dtoh(&product).unwrap();
    for row in 0..16 {
        for column in 0..8 {
            let expected: f32 = (0..16).map(|k| a[row * 16 + k] * b[column * 16 + k]).sum();
            assert_eq!(product[row * 8 + column], expected, "{row} {column}");
        }
    }
    product
}

fn warp_exchange(d: &Device) -> Vec<f32> {
    let x = numbers("x", 64);
    let device_x = d.stream.clone_htod(&x).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
    let kernel = d.kernel(CORRECT, "warp_exchange");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&device_x).arg(&mut y);
    unsafe { launch.launch(shape(1, 64, 0)) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    for (i, (found, x)) in y.iter().zip(&x).enumerate() {
        let lane = (i % 32) as f32;
        assert_eq!(*found, *x + (31.0 - lane) + lane);
    }
    y
}

fn votes(d: &Device) -> Vec<f32> {
    let x: Vec<i32> = (0..32).collect();
    let device_x = d.stream.clone_htod(&x).unwrap();
    let mut y = d.stream.alloc_zeros::<u32>(32).unwrap();
    let kernel = d.kernel(CORRECT, "votes");
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&device_x).arg(&mut y);
    unsafe { launch.launch(shape(1, 32, 0)) }.unwrap();
    let y = d.stream.clone_dtoh(&y).unwrap();
    for lane in 0..32u32 {
        let expected = if lane < 16 {
            let (up, down) = (
                if lane < 3 { lane } else { lane - 3 },
                if lane < 13 { lane + 3 } else { lane },
            );
            up * 100 + down + 30000
        } else {
            0x5555_5555
        };
        assert_eq!(y[lane as usize], expected + 100_000, "{lane}");
    }
    y.iter().map(|v| *v as f32).collect()
}

fn all(d: &Device) -> Vec<f32> {
    let kernels = [
        axpy,
        row_sum,
        transpose,
        softmax,
        warp_exchange,
        votes,
        scale_bf16,
        histogram,
        grid_sum,
        mma,
    ];
    kernels.iter().flat_map(|kernel| kernel(d)).collect()
}

#[test]
fn correct_kernels_compute_what_they_should() {
    let Some(d) = device() else { return };
    let before = Counts::now();
    all(&d);
    let counts = Counts::now().since(before);
    assert!(
        counts.kernels >= 9 && counts.accesses > 10_000,
        "{counts:?}"
    );
}

#[test]
fn every_thread_order_gives_the_same_bits() {
    let name = test_name!();
    let print = |d: &Device| {
        let hash = all(d).iter().fold(0u64, |hash, value| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3)
        });
        println!("bits {hash:016x}");
    };
    let Some(first) = child(name, &[("SOFT_CUDA_ORDER", "forward")], print) else {
        return;
    };
    let bits = |finished: &ablate_soft_cuda::Finished| {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        let line = finished.stdout.lines().find(|line| line.contains("bits "));
        line.map(|line| line[line.find("bits ").unwrap_or(0)..].to_string())
    };
    let expected = bits(&first);
    assert!(expected.is_some());
    let soft = crate::support::soft().expect("the first child had one");
    let others: [&[(&str, &str)]; 5] = [
        &[("SOFT_CUDA_ORDER", "reverse")],
        &[("SOFT_CUDA_ORDER", "shuffled:1")],
        &[("SOFT_CUDA_ORDER", "shuffled:2")],
        &[("SOFT_CUDA_WHEN", "eager")],
        &[
            ("SOFT_CUDA_CHECKS", "off"),
            ("SOFT_CUDA_ORDER", "shuffled:3"),
        ],
    ];
    for settings in others {
        assert_eq!(bits(&rerun(soft, name, settings)), expected, "{settings:?}");
    }
}

#[test]
fn correct_kernels_pass_the_address_sanitizer() {
    let name = test_name!();
    if !ablate_soft_cuda::is_child(name) {
        let Some(soft) = crate::support::soft() else {
            return;
        };
        let Some(settings) = soft.address_sanitizer() else {
            println!("SKIPPED: the compiler has no address sanitizer");
            return;
        };
        let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let finished = rerun(soft, name, &settings);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        return;
    }
    let d = device().expect("the parent has found one");
    all(&d);
}
