//! What the kernel says of this process.

/// Ticks of `/proc/self/stat` in a second: fixed for user space on every Linux the gateway runs on.
const TICKS: f64 = 100.0;

/// Memory and processor time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Process {
    /// In memory now, bytes.
    pub(super) resident: u64,
    /// Processor time used, by all threads, seconds.
    pub(super) cpu: f64,
}

impl Process {
    /// As of now; `None` where there is no `/proc`.
    pub(super) fn look() -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
        Some(Process { resident: resident(&read("status")?)?, cpu: cpu(&read("stat")?)? })
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The program's name comes second, in parentheses, and may hold anything: what follows it has fixed places.
fn cpu(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_processor_time_are_read_from_what_the_kernel_writes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12345 kB\nRssAnon:\t 1 kB\n"), Some(12_345 * 1024));
        let stat = "1 (a b) c) S 0 1 1 0 -1 4194560 100 200 3 4 150 50 7 8 20 0 5 0 100 1000 50\n";
        assert_eq!(cpu(stat), Some(2.0));
        assert_eq!(cpu("nonsense"), None);
        #[cfg(target_os = "linux")]
        assert!(Process::look().is_some_and(|process| process.resident > 100_000));
    }
}
