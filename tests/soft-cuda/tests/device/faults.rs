//! Kernels with a mistake: each ends in an error that stays with the context, and in a line on stderr
//! that names the mistake and where it is.

use crate::support::{child, shape, Device, WRONG};
use ablate_soft_cuda::{rerun, test_name};
use cudarc::driver::sys::CUresult;
use cudarc::driver::PushKernelArg;

/// A kernel of `wrong.cu`, how it is launched, and how it must end.
struct Wrong {
    kernel: &'static str,
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
    numbers: &'static [i32],
    status: CUresult,
    /// Parts of the message.
    says: &'static [&'static str],
}

/// Launches it on buffers of 64 zeros.
fn fails(d: &Device, wrong: &Wrong) {
    let kernel = d.kernel(WRONG, wrong.kernel);
    let x = d.stream.alloc_zeros::<f32>(64).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
    let mut launch = d.stream.launch_builder(&kernel);
    if WRONG.contains(&format!("{}(const float *x", wrong.kernel)) {
        launch.arg(&x);
    }
    if !WRONG.contains(&format!("{}(int", wrong.kernel)) {
        launch.arg(&mut y);
    }
    for number in wrong.numbers {
        launch.arg(number);
    }
    let config = shape(wrong.blocks, wrong.threads, wrong.shared_bytes);
    unsafe { launch.launch(config) }.unwrap();
    let waited = d.stream.synchronize().expect_err("the kernel is wrong");
    assert_eq!(waited.0, wrong.status);
    let later = d
        .stream
        .alloc_zeros::<f32>(1)
        .expect_err("the context is broken");
    assert_eq!(later.0, wrong.status);
}

/// In every order of threads: a mistake must not need luck.
fn caught(name: &str, wrong: &Wrong) {
    let orders = ["forward", "reverse", "shuffled:7"];
    let Some(first) = child(name, &[("SOFT_CUDA_ORDER", orders[0])], |d| fails(d, wrong)) else {
        return;
    };
    let soft = crate::support::soft().expect("the first child had one");
    let others = orders[1..]
        .iter()
        .map(|order| rerun(soft, name, &[("SOFT_CUDA_ORDER", order)]));
    for finished in std::iter::once(first).chain(others) {
        let stderr = &finished.stderr;
        assert!(finished.passed, "{}\n{stderr}", finished.stdout);
        for part in wrong.says.iter().chain(&[wrong.kernel]) {
            assert!(stderr.contains(part), "`{part}` is missing in:\n{stderr}");
        }
    }
}

/// The number of the line of `wrong.cu` with this text, as messages write it.
fn line(text: &str) -> String {
    let line = WRONG.lines().position(|line| line.contains(text));
    format!("line {}", line.expect("the text is there") + 1)
}

const PLAIN: Wrong = Wrong {
    kernel: "",
    blocks: 1,
    threads: 32,
    shared_bytes: 0,
    numbers: &[],
    status: CUresult::CUDA_ERROR_LAUNCH_FAILED,
    says: &[],
};

macro_rules! caught {
    ($($kernel:ident { $($field:ident: $value:expr),* $(,)? })*) => {$(
        #[test]
        fn $kernel() {
            caught(test_name!(), &Wrong { kernel: stringify!($kernel), $($field: $value,)* ..PLAIN });
        }
    )*};
}

caught! {
    missing_barrier { threads: 64, says: &["race", "static shared memory", "since the last barrier"] }
    missing_second_barrier { threads: 64, says: &["race", "static shared memory", "since the last barrier"] }
    missing_syncwarp { says: &["race", "static shared memory"] }
    racing_blocks { blocks: 2, says: &["race", "another block of the same launch", "allocation"] }
    past_the_end {
        threads: 65, numbers: &[64], status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
        says: &["writes 4 bytes", "0 bytes past the end of allocation", "thread (64,0,0)"],
    }
    before_the_start {
        status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, says: &["4 bytes before allocation"],
    }
    through_a_null_pointer {
        status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, says: &["in no allocation"],
    }
    misaligned {
        threads: 4, status: CUresult::CUDA_ERROR_MISALIGNED_ADDRESS, says: &["not a multiple of 16"],
    }
    past_a_shared_array {
        status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, says: &["index 32 is outside", "float [32]"],
    }
    past_dynamic_shared_memory {
        shared_bytes: 124, status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, says: &["writes 4 bytes"],
    }
    past_a_local_array {
        numbers: &[5], status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, says: &["index 4 is outside"],
    }
    barrier_in_a_branch { says: &["divergent __syncthreads"] }
    barrier_after_return {
        numbers: &[20], says: &["20 of 32 threads wait at __syncthreads", "other 12 have returned"],
    }
    shuffle_from_an_inactive_lane { says: &["shuffles from lane 16, which takes no part"] }
    shuffle_without_half_the_mask { says: &["waits in a warp operation", "lanes of its mask 0xffffffff"] }
    shuffle_outside_its_mask { says: &["leaves out its own lane"] }
    index_overflow { threads: 1, numbers: &[65536, 65536], says: &["multiplication of 'int' overflows"] }
    failing_assertion {
        numbers: &[31], status: CUresult::CUDA_ERROR_ASSERT, says: &["assertion `threadIdx.x < n` failed"],
    }
}

#[test]
fn a_message_names_the_line_of_the_source() {
    let name = test_name!();
    let wrong = Wrong {
        kernel: "barrier_after_return",
        numbers: &[20],
        ..PLAIN
    };
    let Some(finished) = child(name, &[], |d| fails(d, &wrong)) else {
        return;
    };
    let after = WRONG
        .split("void barrier_after_return")
        .nth(1)
        .expect("the kernel");
    let before = WRONG.len() - after.len();
    let barrier = before + after.find("__syncthreads").expect("its barrier");
    let number = WRONG[..barrier].matches('\n').count() + 1;
    assert!(
        finished.stderr.contains(&format!("line {number}")),
        "{}",
        finished.stderr
    );
}

#[test]
fn an_access_is_found_in_the_source_where_the_machine_has_addr2line() {
    let name = test_name!();
    let wrong = Wrong {
        kernel: "racing_blocks",
        blocks: 2,
        ..PLAIN
    };
    let Some(finished) = child(name, &[], |d| fails(d, &wrong)) else {
        return;
    };
    if std::process::Command::new("addr2line")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("SKIPPED: there is no addr2line here");
        return;
    }
    let expected = line("if (threadIdx.x == 0) y[0] += 1.0f;");
    assert!(
        finished.stderr.contains(&expected),
        "{expected}:\n{}",
        finished.stderr
    );
}

#[test]
fn shared_memory_starts_as_nan() {
    let Some(d) = crate::support::device() else {
        return;
    };
    let kernel = d.kernel(WRONG, "uninitialised_shared");
    let mut y = d.stream.alloc_zeros::<f32>(32).unwrap();
    let mut launch = d.stream.launch_builder(&kernel);
    launch.arg(&mut y);
    unsafe { launch.launch(shape(1, 32, 0)) }.unwrap();
    assert!(d.stream.clone_dtoh(&y).unwrap().iter().all(|v| v.is_nan()));
}

#[test]
fn the_address_sanitizer_catches_a_local_array() {
    let name = test_name!();
    let wrong = Wrong {
        kernel: "past_a_local_array",
        numbers: &[5],
        ..PLAIN
    };
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
        assert!(!finished.passed, "{}", finished.stdout);
        let stderr = &finished.stderr;
        assert!(
            stderr.contains("AddressSanitizer: stack-buffer-overflow"),
            "{stderr}"
        );
        return;
    }
    fails(
        &crate::support::device().expect("the parent has found one"),
        &wrong,
    );
}

#[test]
fn without_access_checks_a_red_zone_still_tells() {
    let name = test_name!();
    let wrong = Wrong {
        kernel: "past_the_end",
        threads: 65,
        numbers: &[64],
        status: CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
        ..PLAIN
    };
    let settings = [("SOFT_CUDA_CHECKS", "off")];
    let Some(finished) = child(name, &settings, |d| fails(d, &wrong)) else {
        return;
    };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    let says = "something wrote 0 bytes past the end of allocation";
    assert!(finished.stderr.contains(says), "{}", finished.stderr);
}
