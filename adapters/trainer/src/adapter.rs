//! [`Adapter`]: the trained numbers, all in one vector, and which module of the base each belongs to.

use std::{collections::BTreeMap, ops::Range};

use cairn_adapters::peft::{self, Array, Delta, Limits, Targets};
use cairn_lane::{Config, names::Projection};
use serde_json::{Map, Value, json};

use crate::{
    Model, TargetModules, TrainError, TrainOptions,
    buffers::Buffers,
    linear::{Branch, Dora, Gradients, Mask, dora_norms},
    random::Key,
};

/// An adapter in training.
#[derive(Debug, Clone)]
pub struct Adapter {
    config: peft::Config,
    modules: Vec<Module>,
    /// Places in `modules`, by layer and projection.
    places: Vec<[Option<usize>; 7]>,
    /// A, B and magnitude of each module, module by module.
    pub(crate) values: Vec<f32>,
    dropout: f32,
}

/// One adapted module.
#[derive(Debug, Clone)]
struct Module {
    layer: usize,
    of: Projection,
    r: usize,
    scale: f32,
    inputs: usize,
    outputs: usize,
    dora: bool,
    /// Of A in the values; B and the magnitude follow.
    start: usize,
    /// ‖W + s B A‖ of the values as they are: [out], with DoRA.
    norms: Vec<f32>,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1 / √in, B zero, magnitudes the norms of W's rows, as PEFT begins.
    ///
    /// # Errors
    /// [`TrainError::Option`] or [`TrainError::NoTargets`]: the targets are not layers of this base.
    pub fn new(model: &Model, options: &TrainOptions, base: &str) -> Result<Self, TrainError> {
        let mut adapter = Self::zeros(model.config(), options, base)?;
        let key = Key::new(options.seed).with(INITIAL);
        for (i, module) in adapter.modules.iter().enumerate() {
            let (key, bound) = (key.with(i as u64), 1.0 / (module.inputs as f32).sqrt());
            let a = &mut adapter.values[module.a()];
            a.iter_mut().enumerate().for_each(|(at, a)| *a = bound * key.uniform(at as u64));
        }
        adapter.refresh(model);
        for module in &adapter.modules {
            adapter.values[module.magnitude()].copy_from_slice(&module.norms);
        }
        Ok(adapter)
    }

    /// All numbers zero: for those who want the shapes only.
    pub(crate) fn zeros(model: &Config, options: &TrainOptions, base: &str) -> Result<Self, TrainError> {
        options.check()?;
        let config = peft_config(&peft_json(options, base))?;
        check_targets(&options.target_modules, model)?;
        let all = (0..model.layers).flat_map(|layer| Projection::ALL.map(|of| (layer, of)));
        let chosen: Vec<_> = all.filter(|(layer, of)| config.targets(&of.path(*layer)).unwrap_or(true)).collect();
        let modules = chosen.into_iter().map(|(layer, of)| {
            let path = of.path(layer);
            (layer, of, config.rank(&path), config.scale(&path))
        });
        Self::empty(model, config.clone(), modules, options.dropout)
    }

    /// An adapter that was saved, to be trained further.
    ///
    /// # Errors
    /// [`TrainError::Adapter`]: it has parts that are not trained here, or does not fit the base.
    pub fn from_peft(model: &Model, adapter: &peft::Adapter, dropout: f32) -> Result<Self, TrainError> {
        let refuse = |reason: String| Err(TrainError::Adapter(reason));
        if let Some(name) = adapter.saved.keys().next() {
            return refuse(format!("{name} was trained whole, which this trainer does not do"));
        }
        let paths: BTreeMap<String, (usize, Projection)> =
            model.layers().flat_map(|layer| Projection::ALL.map(|of| (of.path(layer), (layer, of)))).collect();
        let mut chosen = Vec::new();
        for (path, delta) in &adapter.layers {
            let Some((layer, of)) = paths.get(path) else {
                return refuse(format!("{path} is not a linear layer of the base's blocks"));
            };
            if delta.lora_bias.is_some() || delta.bias.is_some() {
                return refuse(format!("{path} has a trained bias, which this trainer does not do"));
            }
            let shape = model.config().shape(*of);
            if [delta.outputs(), delta.inputs()] != shape {
                let found = [delta.outputs(), delta.inputs()];
                return refuse(format!("{path} has shape {found:?} and the base's is {shape:?}"));
            }
            chosen.push((*layer, *of, delta.r(), delta.scale));
        }
        chosen.sort_unstable_by_key(|(layer, of, ..)| (*layer, *of));
        let mut loaded = Self::empty(model.config(), adapter.config.clone(), chosen.into_iter(), dropout)?;
        for module in &loaded.modules {
            let delta = &adapter.layers[&module.of.path(module.layer)];
            loaded.values[module.a()].copy_from_slice(&delta.a.data);
            loaded.values[module.b()].copy_from_slice(&delta.b.data);
            if let Some(magnitude) = &delta.magnitude {
                loaded.values[module.magnitude()].copy_from_slice(magnitude);
            }
        }
        loaded.refresh(model);
        Ok(loaded)
    }

    /// As PEFT has it, to be written or attached.
    #[must_use]
    pub fn to_peft(&self) -> peft::Adapter {
        let layers = self.modules.iter().map(|module| {
            let array = |range: Range<usize>, shape: [usize; 2]| Array {
                shape: shape.to_vec(),
                data: self.values[range].to_vec(),
            };
            let delta = Delta {
                a: array(module.a(), [module.r, module.inputs]),
                b: array(module.b(), [module.outputs, module.r]),
                scale: module.scale,
                magnitude: module.dora.then(|| self.values[module.magnitude()].to_vec()),
                lora_bias: None,
                bias: None,
                embedding: false,
            };
            (module.of.path(module.layer), delta)
        });
        peft::Adapter { config: self.config.clone(), layers: layers.collect(), saved: BTreeMap::new() }
    }

    /// Numbers that are trained.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.values.len()
    }

    /// Where each tensor lies in the vector of all numbers.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Range<usize>> {
        self.modules
            .iter()
            .flat_map(|module| [module.a(), module.b(), module.magnitude()])
            .filter(|range| !range.is_empty())
    }

    /// Brings DoRA's norms up to date: after every change of the numbers.
    pub(crate) fn refresh(&mut self, model: &Model) {
        let mut buffers = Buffers::default();
        for at in 0..self.modules.len() {
            let module = &self.modules[at];
            if !module.dora {
                continue;
            }
            let norms = dora_norms(model.linear(module.layer, module.of), &self.plain_branch(module), &mut buffers);
            self.modules[at].norms = norms;
        }
    }

    /// The branch of a linear layer; `key` is that of this pass, none = no dropout.
    pub(crate) fn branch(&self, layer: usize, of: Projection, key: Option<Key>) -> Option<Branch<'_>> {
        let at = self.places[layer][of as usize]?;
        let module = &self.modules[at];
        let dora = module.dora.then(|| Dora { magnitude: &self.values[module.magnitude()], norms: &module.norms });
        let mask = key.filter(|_| self.dropout > 0.0).map(|key| Mask { key: key.with(at as u64), p: self.dropout });
        Some(Branch { dora, mask, ..self.plain_branch(module) })
    }

    /// Where the gradients of a linear layer go, in a vector like that of the numbers.
    pub(crate) fn gradients<'a>(&self, layer: usize, of: Projection, all: &'a mut [f32]) -> Option<Gradients<'a>> {
        let module = &self.modules[self.places[layer][of as usize]?];
        let (a, rest) = all[module.start..module.magnitude().end].split_at_mut(module.a().len());
        let (b, magnitude) = rest.split_at_mut(module.b().len());
        Some(Gradients { a, b, magnitude })
    }

    fn plain_branch(&self, module: &Module) -> Branch<'_> {
        let (a, b) = (&self.values[module.a()], &self.values[module.b()]);
        Branch { r: module.r, scale: module.scale, a, b, dora: None, mask: None }
    }

    /// Zeros for the modules.
    fn empty(
        base: &Config,
        config: peft::Config,
        chosen: impl Iterator<Item = (usize, Projection, usize, f32)>,
        dropout: f32,
    ) -> Result<Self, TrainError> {
        let mut places = vec![[None; 7]; base.layers];
        let (mut modules, mut start) = (Vec::new(), 0);
        for (layer, of, r, scale) in chosen {
            let [outputs, inputs] = base.shape(of);
            places[layer][of as usize] = Some(modules.len());
            let dora = config.use_dora;
            let module = Module { layer, of, r, scale, inputs, outputs, dora, start, norms: Vec::new() };
            start = module.magnitude().end;
            modules.push(module);
        }
        if modules.is_empty() {
            return Err(TrainError::NoTargets);
        }
        Ok(Self { config, modules, places, values: vec![0.0; start], dropout })
    }
}

impl Module {
    fn a(&self) -> Range<usize> {
        self.start..self.start + self.r * self.inputs
    }

    fn b(&self) -> Range<usize> {
        self.a().end..self.a().end + self.outputs * self.r
    }

    fn magnitude(&self) -> Range<usize> {
        self.b().end..self.b().end + if self.dora { self.outputs } else { 0 }
    }
}

/// The stream of the first values, apart from those of masks and noise.
const INITIAL: u64 = 0x0001;

/// adapter_config.json as PEFT writes it.
fn peft_json(options: &TrainOptions, base: &str) -> Map<String, Value> {
    let targets = match &options.target_modules {
        TargetModules::Pattern(pattern) if pattern.eq_ignore_ascii_case("all-linear") => {
            json!(Projection::ALL.map(|of| of.path(0).rsplit('.').next().unwrap_or_default().to_owned()))
        }
        targets => json!(targets),
    };
    let Value::Object(fields) = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": whole(options.alpha),
        "lora_bias": false,
        "lora_dropout": whole(f64::from(options.dropout)),
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": options.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": options.use_dora,
        "use_rslora": options.use_rslora,
    }) else {
        unreachable!("the literal above is an object")
    };
    fields
}

/// Without a fraction where there is none, and with the digits of an f32.
fn whole(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!((value * 1e7).round() / 1e7) }
}

fn peft_config(fields: &Map<String, Value>) -> Result<peft::Config, TrainError> {
    let bytes = serde_json::to_vec(fields).expect("a map of plain values");
    peft::Config::parse(&bytes, &Limits::default()).map_err(|error| match error {
        // Nothing was read from a file yet: what is wrong is what was asked for.
        peft::FormatError::ConfigField { field, value, reason } => TrainError::option(field, value, reason),
        error => error.into(),
    })
}

/// A name that matches nothing is a mistake, also where another one matches.
fn check_targets(targets: &TargetModules, base: &Config) -> Result<(), TrainError> {
    let TargetModules::Names(names) = targets else { return Ok(()) };
    for name in names {
        let one = Targets::Names(vec![name.clone()]);
        let matched =
            (0..base.layers).any(|layer| Projection::ALL.iter().any(|of| one.selects(&of.path(layer)) == Some(true)));
        if !matched {
            let reason = "it is no linear layer of the blocks; those are q_proj, k_proj, v_proj, o_proj, gate_proj, \
                          up_proj and down_proj, and embeddings and the head are not adapted";
            return Err(TrainError::option("target_modules", name, reason));
        }
    }
    Ok(())
}
