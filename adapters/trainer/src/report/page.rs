//! The evaluation as one page of HTML: no scripts, nothing loaded from elsewhere, readable in light and dark and on paper.

use std::fmt::Write;

use super::{
    Evaluation, MemoryReport, Metric, MetricKind, TimeReport, Verdict,
    evaluation::round,
    plot::{bytes_of, intervals, losses, memory},
};

impl Evaluation {
    /// A self-contained page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\"><title>Evaluation of {}</title><style>{STYLE}</style></head><body><main>",
            escape(&self.adapter)
        );
        self.head(&mut page);
        self.metrics(&mut page);
        if let Some(plot) = losses(&self.training_loss, &self.evaluation_loss) {
            let _ = write!(
                page,
                "<section><h2>Loss</h2><p class=\"key\"><span class=\"base\">training</span> <span class=\"adapter\">held-out \
                 rows</span></p>{plot}<p class=\"note\">Mean negative log-likelihood of a learnt token, in nats.</p></section>"
            );
        }
        if let Some(report) = &self.memory {
            memory_section(report, &mut page);
        }
        if let Some(report) = &self.time {
            time_section(report, &mut page);
        }
        self.speed(&mut page);
        self.answers(&mut page);
        self.conditions(&mut page);
        page.push_str("</main></body></html>\n");
        page
    }

    fn head(&self, page: &mut String) {
        let count = |verdict| self.metrics.iter().filter(|metric| metric.verdict() == verdict).count();
        let (rows, trained) = (self.held_out.rows, !self.training_loss.is_empty());
        let (better, worse, unclear) = (count(Verdict::Better), count(Verdict::Worse), count(Verdict::Unclear));
        let alone = !self.metrics.is_empty() && self.metrics.iter().all(|metric| metric.adapter.is_none());
        let verdicts = format!(
            "<p class=\"verdicts\"><span class=\"better\">{better} better</span> <span class=\"worse\">{worse} worse</span> \
             <span class=\"unclear\">{unclear} unclear</span></p>"
        );
        let _ = write!(
            page,
            "<header><h1>{}</h1><p>{} <b>{}</b>, {} <b>{}</b>{} ({} tokens \
             scored{}). {}</p>{}</header>",
            escape(&self.adapter),
            if alone { "The base alone," } else { "An adapter for" },
            escape(&self.base),
            if trained { "trained on".to_owned() } else { format!("evaluated on {rows} rows of") },
            escape(&self.dataset),
            if trained { format!(" and evaluated on {rows} held-out rows") } else { String::new() },
            self.held_out.supervised_tokens,
            if self.held_out.prompts_masked { ", prompts left out" } else { ", prompts included" },
            escape(&self.created),
            if alone { "" } else { verdicts.as_str() },
        );
    }

    fn metrics(&self, page: &mut String) {
        page.push_str(
            "<section><h2>Quality</h2><p class=\"key\"><span class=\"base\">base</span> <span class=\"adapter\">with the \
             adapter</span></p><div class=\"cards\">",
        );
        for metric in &self.metrics {
            let _ = write!(
                page,
                "<article><h3>{} <span class=\"{}\">{}</span></h3>{}<p>{}</p>{}</article>",
                metric.kind.title(),
                class(metric),
                class(metric),
                intervals(metric),
                metric.sentence(),
                if metric.unscored > 0 {
                    format!(
                        "<p class=\"note\">{} of {} references have no Latin letter or digit and are not scored.</p>",
                        metric.unscored,
                        metric.scored + metric.unscored
                    )
                } else {
                    String::new()
                }
            );
        }
        page.push_str("</div><div class=\"wide\"><table><tr><th>metric<th>base<th>adapter<th>difference<th>rows</tr>");
        let per_cent = self.bootstrap.confidence * 100.0;
        for metric in &self.metrics {
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                metric.kind.title(),
                cell(&metric.base),
                metric.adapter.as_ref().map(cell).unwrap_or_default(),
                metric.difference.as_ref().map(|it| cell(&it.estimate)).unwrap_or_default(),
                metric.scored
            );
        }
        let _ = write!(
            page,
            "</table></div><p class=\"note\">In brackets: {per_cent:.0} % of {} draws of the rows (paired bootstrap, seed {}). A \
             difference whose interval holds 0 may be chance.",
            self.bootstrap.resamples, self.bootstrap.seed
        );
        if self.metrics.iter().any(|metric| metric.kind == MetricKind::Bleu) {
            let _ = write!(page, " BLEU: <code>{}</code>.", escape(&self.bleu_signature));
        }
        page.push_str("</p></section>");
    }

    fn speed(&self, page: &mut String) {
        let speeds = [
            ("Training", self.throughput.training),
            ("Generation, base", self.throughput.decode_base),
            ("Generation, with the adapter", self.throughput.decode_adapter),
        ];
        if speeds.iter().all(|(_, speed)| speed.is_none()) {
            return;
        }
        page.push_str("<section><h2>Speed</h2><table><tr><th><th>tokens a second</tr>");
        for (name, speed) in speeds {
            if let Some(speed) = speed {
                let _ = write!(page, "<tr><td>{name}<td>{}</tr>", round(speed));
            }
        }
        page.push_str("</table></section>");
    }

    fn answers(&self, page: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        page.push_str("<section><h2>Answers side by side</h2>");
        for sample in &self.samples {
            let _ = write!(
                page,
                "<article class=\"sample\"><pre class=\"prompt\">{}</pre><div class=\"sides\"><div><h4 \
                 class=\"base\">base</h4><pre>{}</pre></div>{}<div><h4>reference</h4><pre>{}</pre></div></div></article>",
                escape(&sample.prompt),
                escape(&sample.base),
                sample
                    .adapter
                    .as_ref()
                    .map(|said| {
                        let said = escape(said);
                        format!("<div><h4 class=\"adapter\">with the adapter</h4><pre>{said}</pre></div>")
                    })
                    .unwrap_or_default(),
                escape(&sample.reference)
            );
        }
        page.push_str("</section>");
    }

    fn conditions(&self, page: &mut String) {
        if self.configuration.is_empty() {
            return;
        }
        page.push_str("<section><h2>Configuration</h2><table class=\"names\">");
        for (name, value) in &self.configuration {
            let _ = write!(page, "<tr><td>{}<td><code>{}</code></tr>", escape(name), escape(value));
        }
        page.push_str("</table></section>");
    }
}

fn memory_section(report: &MemoryReport, page: &mut String) {
    let of_run = report.evaluation_peak.is_none();
    let mut bars = vec![(if of_run { "this run, predicted" } else { "QLoRA, predicted" }, report.predicted)];
    bars.extend(report.measured.map(|measured| ("this run, measured", measured)));
    bars.extend([("LoRA, 16-bit base", report.half_lora), ("full fine-tuning", report.full_fine_tuning)]);
    page.push_str("<section><h2>");
    page.push_str(if of_run { "Memory of the training run" } else { "Memory" });
    page.push_str("</h2><p class=\"key\">");
    for (part, (name, _)) in report.predicted.parts().into_iter().enumerate() {
        let _ = write!(page, "<span class=\"part{part}\">{name}</span> ");
    }
    let _ = write!(page, "</p>{}<p>", memory(&bars));
    match report.measured_peak {
        Some(peak) => {
            let _ = write!(
                page,
                "Measured at its peak: <b>{}</b>; predicted: {}.",
                bytes_of(peak),
                bytes_of(report.predicted.total())
            );
        }
        None if report.evaluation_peak.is_some() => page.push_str("What training such an adapter takes, predicted."),
        None => page.push_str("The system does not say how much was used."),
    }
    if let Some(peak) = report.evaluation_peak {
        let _ = write!(page, " Evaluating it took <b>{}</b> at its peak.", bytes_of(peak));
    }
    if let Some(peak) = report.device_peak {
        let _ = write!(page, " On the device: <b>{}</b>.", bytes_of(peak));
    }
    page.push_str("</p></section>");
}

fn time_section(report: &TimeReport, page: &mut String) {
    let seconds =
        |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{} s", round(seconds)));
    page.push_str("<section><h2>Time of the training run</h2><table><tr><th><th>predicted<th>measured</tr>");
    let predicted = report.predicted.map(|predicted| predicted.parts());
    for (part, (name, measured)) in report.measured.parts().into_iter().enumerate() {
        let predicted = predicted.and_then(|parts| parts[part].1);
        let _ = write!(page, "<tr><td>{name}<td>{}<td>{}</tr>", seconds(predicted), seconds(measured));
    }
    let all = [report.predicted.map(|all| all.total()), Some(report.measured.total())].map(seconds);
    let _ = write!(page, "<tr><td>all<td>{}<td>{}</tr></table></section>", all[0], all[1]);
}

fn cell(estimate: &crate::metrics::Estimate) -> String {
    format!("{} <small>[{}, {}]</small>", round(estimate.value), round(estimate.low), round(estimate.high))
}

fn class(metric: &Metric) -> &'static str {
    match metric.verdict() {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Unclear => "unclear",
    }
}

/// What models say must not become part of the page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--page:#fff;--card:#f5f6f8;--rule:#d8dce1;--base:#7a8591;\
--adapter:#0b6bcb;--better:#15703a;--worse:#b3261e;--p0:#4c78a8;--p1:#f58518;--p2:#54a24b;--p3:#b279a2;--p4:#e45756;--p5:#9d9d9d}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#9aa4af;--page:#14171b;--card:#1d2126;--rule:#343a42;\
--base:#98a2ae;--adapter:#5aa9f5;--better:#5fce8a;--worse:#ff8a80}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 20px 64px}h1{font-size:28px;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:19px;margin:40px 0 8px}h3{font-size:15px;margin:0 0 8px;display:flex;justify-content:space-between}
h4{font-size:13px;margin:0 0 4px;color:var(--dim)}p{margin:8px 0}.note,small{color:var(--dim);font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:12px}
article{background:var(--card);border-radius:8px;padding:14px;break-inside:avoid}article+article.sample{margin-top:12px}
article p{font-size:13px}svg{width:100%;height:auto;display:block}.label{fill:var(--ink);font-size:12px}
.tick{fill:var(--dim);font-size:11px}.end{text-anchor:end}.axis,.grid{stroke:var(--rule)}
.whisker{stroke-width:3;stroke-linecap:round;opacity:.55}.line{fill:none;stroke-width:2}
line.base,polyline.base{stroke:var(--base)}line.adapter,polyline.adapter{stroke:var(--adapter)}circle.base{fill:var(--base)}\
circle.adapter{fill:var(--adapter)}
.key span{margin-right:14px;font-size:13px}.key span::before{content:'';display:inline-block;width:10px;height:10px;\
border-radius:5px;margin-right:6px;background:var(--c)}.key .base{--c:var(--base)}.key .adapter{--c:var(--adapter)}
h4.adapter{color:var(--adapter)}.better{color:var(--better)}.worse{color:var(--worse)}.unclear{color:var(--dim)}
.verdicts span{margin-right:14px;font-weight:600}h3 span{font-weight:400}
table{border-collapse:collapse;font-size:14px;margin-top:14px}th,td{text-align:right;padding:5px 12px;\
border-bottom:1px solid var(--rule);font-variant-numeric:tabular-nums;white-space:nowrap}th:first-child,td:first-child,\
.names td{text-align:left}th{font-weight:600}.wide{overflow-x:auto}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:12px}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,monospace}\
.prompt{color:var(--dim);border-left:3px solid var(--rule);padding-left:10px;margin-bottom:12px}
.part0{fill:var(--p0);--c:var(--p0)}.part1{fill:var(--p1);--c:var(--p1)}.part2{fill:var(--p2);--c:var(--p2)}\
.part3{fill:var(--p3);--c:var(--p3)}.part4{fill:var(--p4);--c:var(--p4)}.part5{fill:var(--p5);--c:var(--p5)}
@media print{main{max-width:none}}
";
