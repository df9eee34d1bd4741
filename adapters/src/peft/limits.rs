//! [`Limits`]: how large an adapter may be before it is refused.

/// What is accepted. The defaults admit r = 256 on every linear layer of a 7B model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Highest rank of any module.
    pub max_rank: usize,
    /// Bytes of adapter_config.json.
    pub max_config_bytes: u64,
    /// Bytes of adapter_model.safetensors.
    pub max_weights_bytes: u64,
    /// Tensors in adapter_model.safetensors.
    pub max_tensors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_rank: 256, max_config_bytes: 1 << 20, max_weights_bytes: 4 << 30, max_tensors: 16_384 }
    }
}
