//! Module paths of the decoder, as Hugging Face and PEFT name them.

/// The linear layers of a block, in the order of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    /// Queries, [heads x head_dim, hidden].
    Q,
    /// Keys, [kv_heads x head_dim, hidden].
    K,
    /// Values, [kv_heads x head_dim, hidden].
    V,
    /// Attention's output, [hidden, heads x head_dim].
    O,
    /// Gate of the feed-forward layer, [intermediate, hidden].
    Gate,
    /// Up-projection, [intermediate, hidden].
    Up,
    /// Down-projection, [hidden, intermediate].
    Down,
}

impl Projection {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The module's path in a layer, such as `model.layers.3.self_attn.q_proj`.
    #[must_use]
    pub fn path(self, layer: usize) -> String {
        let name = match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        };
        format!("model.layers.{layer}.{name}")
    }

    /// The tensor's name in a GGUF block.
    pub(crate) fn gguf(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }
}

/// The norms of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Before attention, [hidden].
    Input,
    /// Before the feed-forward layer, [hidden].
    PostAttention,
    /// Of each query head, [head_dim] (Qwen3).
    Query,
    /// Of each key head, [head_dim] (Qwen3).
    Key,
}

impl Norm {
    /// The module's path in a layer, such as `model.layers.3.input_layernorm`.
    #[must_use]
    pub fn path(self, layer: usize) -> String {
        let name = match self {
            Self::Input => "input_layernorm",
            Self::PostAttention => "post_attention_layernorm",
            Self::Query => "self_attn.q_norm",
            Self::Key => "self_attn.k_norm",
        };
        format!("model.layers.{layer}.{name}")
    }

    pub(crate) fn gguf(self) -> &'static str {
        match self {
            Self::Input => "attn_norm",
            Self::PostAttention => "ffn_norm",
            Self::Query => "attn_q_norm",
            Self::Key => "attn_k_norm",
        }
    }
}

/// The token embeddings, [vocabulary, hidden].
pub const EMBEDDINGS: &str = "model.embed_tokens";
/// The norm before the head, [hidden].
pub const FINAL_NORM: &str = "model.norm";
/// The head, [vocabulary, hidden]; where it is tied, the embeddings.
pub const HEAD: &str = "lm_head";
