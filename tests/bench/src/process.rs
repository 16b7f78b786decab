//! What the kernel says of a process.

use crate::Result;
use std::time::Duration;

/// A tick of `/proc/PID/stat`: `USER_HZ` is 100 on every Linux that Rust's tier 1 knows.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that the process has used, in the kernel and outside, all threads together.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u32 =
        fields.get(11).ok_or("no utime")?.parse::<u32>()? + fields.get(12).ok_or("no stime")?.parse::<u32>()?;
    Ok(TICK * ticks)
}

/// Resident memory, KiB.
pub fn rss(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_its_cpu_time_grows() {
        let pid = std::process::id();
        assert!(rss(pid).expect("readable") > 100);
        let before = cpu(pid).expect("readable");
        while cpu(pid).expect("readable") <= before {
            std::hint::black_box(before);
        }
    }
}
