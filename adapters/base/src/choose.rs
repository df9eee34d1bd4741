//! OpenAI's sampling parameters with a seed, which mistral.rs' own sampler does not have.
//!
//! A [`Chooser`] sits behind mistral.rs' hook for logits. It lets a [`Sampler`] choose the token, reports it, and returns
//! logits that leave the engine no other choice.

use cairn_adapters::{
    Sampling,
    sample::{Chosen, Sampler, Scratch},
};
use mistralrs::{CustomLogitsProcessor, Tensor};
use mistralrs_candle::Error;
use parking_lot::Mutex;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

/// Chooses the tokens of one sequence.
pub(crate) struct Chooser {
    chosen: UnboundedSender<Chosen>,
    /// Dropped with the sequence, which tells that the engine has let go of it.
    _alive: oneshot::Sender<()>,
    /// The engine calls once a token.
    state: Mutex<(Sampler, Scratch)>,
}

impl Chooser {
    /// Answer `index` of a request has its own stream of random numbers.
    pub(crate) fn new(
        sampling: Sampling,
        index: usize,
        chosen: UnboundedSender<Chosen>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        let seed = sampling.seed.unwrap_or_else(rand::random);
        let state = Mutex::new((Sampler::new(sampling, seed, index), Scratch::default()));
        Self { chosen, _alive: alive, state }
    }
}

impl CustomLogitsProcessor for Chooser {
    fn apply(&self, logits: &Tensor, _context: &[u32]) -> mistralrs::Result<Tensor> {
        let values: Vec<f32> = logits.to_vec1()?;
        let chosen = {
            let (sampler, scratch) = &mut *self.state.lock();
            sampler.choose(&values, None, scratch).map_err(|error| Error::Msg(error.to_string()))?
        };
        let mut only = vec![f32::NEG_INFINITY; values.len()];
        only[chosen.token as usize] = 0.0;
        // A receiver that is gone means that the request was cancelled; the engine notices by itself.
        let _ = self.chosen.send(chosen);
        Tensor::from_vec(only, logits.shape(), logits.device())
    }
}
