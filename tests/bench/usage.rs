//! What tako and the nats-server below it use, read from /proc.
use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Used since the start.
pub(crate) struct Usage {
    /// Seconds of one core.
    pub(crate) cpu_seconds: f64,
    /// Resident memory at its highest.
    pub(crate) peak_mib: f64,
}

/// What tako and the nats-server below it have used so far.
pub(crate) fn usage(tako: u32) -> anyhow::Result<Usage> {
    let mut all = vec![tako];
    let mut next = 0;
    while next < all.len() {
        let children = fs::read_dir(format!("/proc/{}/task", all[next]))?
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
            .collect::<Vec<_>>();
        all.extend(children);
        next += 1;
    }
    let mut usage = Usage { cpu_seconds: 0.0, peak_mib: 0.0 };
    for pid in all {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<f64> =
            stat.rsplit(") ").next().context("stat")?.split(' ').filter_map(|field| field.parse().ok()).collect();
        // utime and stime, in hundredths of a second; the state before them is no number.
        usage.cpu_seconds += (fields[10] + fields[11]) / 100.0;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
        usage.peak_mib += peak.unwrap_or_default() / 1024.0;
    }
    Ok(usage)
}

/// Waits until the processes have been idle for a second: what a push caused is counted, not cut off.
pub(crate) fn settle(tako: u32) -> anyhow::Result<()> {
    let mut last = usage(tako)?.cpu_seconds;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(1));
        let now = usage(tako)?.cpu_seconds;
        if now - last < 0.03 {
            return Ok(());
        }
        last = now;
    }
    Ok(())
}
