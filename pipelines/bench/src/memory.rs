//! Memory of the process, as the system counts it.

/// Largest resident memory of this process so far, in bytes (`VmHWM` of `/proc/self/status`). None
/// where the system has no such file.
pub fn peak_rss_bytes() -> Option<u64> {
    high_water(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Lets [`peak_rss_bytes`] count from now on, where the system can (Linux since 4.0; `proc(5)`,
/// `clear_refs`). Elsewhere the count goes on, and the peak is that of the whole process.
pub fn reset_peak_rss() {
    // Refused in some containers; then a later measurement shows the larger peak of an earlier one.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(high_water("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(high_water("Name:\tx\n"), None);
        assert_eq!(high_water("VmHWM: lots\n"), None);
    }
}
