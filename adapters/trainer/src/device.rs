//! Memory of graphics cards, as NVIDIA's driver counts it. NVML comes with the driver and is loaded at run time, so this needs no
//! build for CUDA; where there is no driver, there is nothing to say.
//!
//! The trainer computes on the CPU: its own process holds device memory only where something else in it does, such as a base served
//! by mistral.rs on a build for CUDA. In a container the driver may count processes under the host's numbers; then this
//! process is not among them, and only what is used in all is known.

use std::{
    ffi::OsStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use nvml_wrapper::{Nvml, enums::device::UsedGpuMemory, error::NvmlError};

/// The driver's library, loaded.
#[derive(Debug)]
pub struct Devices {
    nvml: Nvml,
}

/// A card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What it is called.
    pub name: String,
    /// Bytes in all.
    pub total: u64,
    /// Bytes used by anyone.
    pub used: u64,
    /// Bytes used by this process; none where the driver does not say.
    pub by_process: Option<u64>,
}

impl Devices {
    /// The driver of this machine; none where there is none that answers.
    #[must_use]
    pub fn open() -> Option<Self> {
        Nvml::init().ok().map(|nvml| Self { nvml })
    }

    /// A library that is somewhere else.
    ///
    /// # Errors
    /// It cannot be loaded, or finds no driver.
    pub fn load(library: &OsStr) -> Result<Self, NvmlError> {
        Ok(Self { nvml: Nvml::builder().lib_path(library).init()? })
    }

    /// The cards as they are now; one that does not answer is left out.
    #[must_use]
    pub fn sample(&self) -> Vec<DeviceMemory> {
        let count = self.nvml.device_count().unwrap_or(0);
        (0..count).filter_map(|index| self.card(index).ok()).collect()
    }

    fn card(&self, index: u32) -> Result<DeviceMemory, NvmlError> {
        let device = self.nvml.device_by_index(index)?;
        let memory = device.memory_info()?;
        let own = std::process::id();
        let processes = device.running_compute_processes().unwrap_or_default();
        let own = processes.into_iter().filter(|process| process.pid == own).map(|process| process.used_gpu_memory);
        let by_process = own.map(|used| if let UsedGpuMemory::Used(bytes) = used { Some(bytes) } else { None });
        Ok(DeviceMemory {
            name: device.name().unwrap_or_else(|_| format!("device {index}")),
            total: memory.total,
            used: memory.used,
            by_process: by_process.fold(None, |sum, bytes| Some(sum.unwrap_or(0) + bytes?)),
        })
    }
}

/// Looks at the cards while something runs, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    most: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins; without a driver it watches nothing.
    #[must_use]
    pub fn start() -> Self {
        Self::of(Devices::open())
    }

    /// Of these devices.
    #[must_use]
    pub fn of(devices: Option<Devices>) -> Self {
        let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = devices.and_then(|devices| {
            let (most, done) = (most.clone(), done.clone());
            let look = move || {
                while !done.load(SeqCst) {
                    let used = devices.sample().iter().filter_map(|card| card.by_process).sum();
                    most.fetch_max(used, SeqCst);
                    std::thread::park_timeout(EVERY);
                }
            };
            // Without a thread there is no figure, which is no reason not to train.
            std::thread::Builder::new().name("device-memory".into()).spawn(look).ok()
        });
        Self { most, done, thread }
    }

    /// The most that this process used on all cards together, so far; none where it used nothing or the driver does not say.
    #[must_use]
    pub fn peak(&self) -> Option<u64> {
        Some(self.most.load(SeqCst)).filter(|bytes| *bytes > 0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// How often the cards are looked at.
const EVERY: Duration = Duration::from_millis(200);
