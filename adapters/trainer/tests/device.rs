//! Device memory through NVML, with a library that answers as a driver would: it shows that ours is asked and understood rightly,
//! not that a driver says so. On a machine with a driver `a_driver_that_is_there_answers` asks that one too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::{path::Path, process::Command, time::Duration};

use cairn_trainer::device::{DeviceMemory, Devices, Watch};

#[test]
fn what_this_process_uses_is_told_from_what_others_use() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvml/fake.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(built.success(), "a C compiler, which building Cairn needs as well");
    let devices = Devices::load(library.as_os_str()).unwrap();
    let gib = |count: u64| count << 30;
    let card = DeviceMemory { name: "Fake".into(), total: gib(16), used: gib(5), by_process: Some(gib(1)) };
    assert_eq!(devices.sample(), [card]);
    // The second look finds the most.
    let watch = Watch::of(Some(devices));
    for _ in 0..500 {
        if watch.peak() == Some(gib(3)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the peak is {:?}", watch.peak());
}

#[test]
fn without_a_driver_there_is_nothing_to_say() {
    assert!(Devices::load("/nowhere/libnvidia-ml.so.1".as_ref()).is_err());
    assert_eq!(Watch::of(None).peak(), None);
}

#[test]
fn a_driver_that_is_there_answers() {
    let Some(devices) = Devices::open() else {
        eprintln!("NOT TESTED: there is no NVIDIA driver on this machine");
        return;
    };
    let cards = devices.sample();
    assert!(cards.iter().all(|card| card.used <= card.total && card.total > 0), "{cards:?}");
}
