// Curves over steps: drawn, walked through by pointer or arrow keys, and the same numbers as a table.
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import { rows, type Series } from "./curve";
import { create, fill, type Line, point } from "./draw";
import { figure } from "./measures";

export type { Series } from "./curve";

export function Chart({ label, series, most }: { label: string; series: Series[]; most?: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const chart = useRef<Line | null>(null);
  const [place, setPlace] = useState<number | null>(null);
  const all = useMemo(() => rows(series), [series]);
  const steps = useRef<number[]>([]);
  steps.current = all.map(({ step }) => step);
  const latest = useRef({ series, most });
  latest.current = { series, most };

  useEffect(() => {
    if (!canvas.current) return;
    const made = create(canvas.current, (step) =>
      setPlace(step === null ? null : nearest(steps.current, step)),
    );
    chart.current = made;
    const draw = () => fill(made, latest.current.series, latest.current.most);
    draw();
    // A canvas keeps the font that was there when it was drawn.
    void document.fonts.ready.then(() => chart.current === made && draw());
    const unwatch = onTheme(draw);
    return () => {
      unwatch();
      made.destroy();
      chart.current = null;
    };
  }, []);
  useEffect(() => {
    if (chart.current) fill(chart.current, series, most);
  }, [series, most]);
  const row = place === null ? undefined : all[place];
  const at = row?.step ?? null;
  useEffect(() => {
    if (chart.current) point(chart.current, at);
  }, [at]);

  const walk = (event: KeyboardEvent) => {
    const last = all.length - 1;
    const from = place ?? last;
    const to = {
      ArrowRight: from + 1,
      ArrowUp: from + 1,
      ArrowLeft: place === null ? last : from - 1,
      ArrowDown: place === null ? last : from - 1,
      PageUp: from + 10,
      PageDown: from - 10,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Escape") setPlace(null);
    if (to === undefined || all.length === 0) return;
    event.preventDefault();
    setPlace(Math.min(last, Math.max(0, to)));
  };
  const shown = row ?? all.at(-1);
  const values = series.map(({ name, points }, n) => ({
    name,
    value: row ? row.values[n] : points.at(-1)?.[1],
  }));
  const spoken = values
    .filter(({ value }) => value !== undefined)
    .map(({ name, value }) => `${name} ${figure(value as number)}`)
    .join(", ");
  return (
    <figure className="chart" data-steps={all.length}>
      <figcaption className="chart-legend">
        {series.map(({ name, tone, marked }, n) => {
          const value = values[n]?.value;
          return (
            <span key={name} className={`chart-key tone-${tone}`}>
              <i className={marked ? "chart-swatch chart-swatch-marked" : "chart-swatch"} aria-hidden />
              {name} <strong className="numbers">{value === undefined ? "–" : value.toFixed(3)}</strong>
            </span>
          );
        })}
        <span className="push quiet numbers">{at === null ? "" : `step ${at}`}</span>
      </figcaption>
      {/* Walking through the steps is choosing a value from a range: readers know how to work a slider. */}
      <div
        className="chart-box"
        role="slider"
        tabIndex={0}
        aria-label={`${label}. Arrow keys go through the steps.`}
        aria-valuemin={steps.current[0] ?? 0}
        aria-valuemax={steps.current.at(-1) ?? 0}
        aria-valuenow={shown?.step ?? 0}
        aria-valuetext={shown ? `step ${shown.step}: ${spoken}` : "nothing yet"}
        onKeyDown={walk}
        onBlur={() => setPlace(null)}
      >
        <canvas ref={canvas} aria-hidden />
        {all.length === 0 && <p className="chart-empty quiet">The curve begins with the first step.</p>}
      </div>
      {all.length > 0 && <Table label={label} series={series} all={all} />}
    </figure>
  );
}

/** The same numbers to read one by one. Long tables are made only once they are wanted. */
function Table({ label, series, all }: { label: string; series: Series[]; all: ReturnType<typeof rows> }) {
  const [open, setOpen] = useState(false);
  return (
    <details className="chart-table" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="quiet small">As a table</summary>
      {open && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <section className="chart-rows" aria-label={`${label}, as a table`} tabIndex={0}>
          <table className="table">
            <thead>
              <tr>
                <th scope="col" className="number">
                  Step
                </th>
                {series.map(({ name }) => (
                  <th key={name} scope="col" className="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {all.map(({ step, values }) => (
                <tr key={step}>
                  <td className="number">{step}</td>
                  {values.map((value, n) => (
                    <td key={series[n]?.name} className="number">
                      {value === undefined ? "" : value.toFixed(4)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </details>
  );
}

/** The place of the step that is nearest. */
function nearest(steps: readonly number[], step: number): number | null {
  if (steps.length === 0) return null;
  return steps.reduce(
    (best, known, at) => (Math.abs(known - step) < Math.abs((steps[best] ?? 0) - step) ? at : best),
    0,
  );
}

/** Calls back when the page changes between light and dark. */
function onTheme(changed: () => void): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  system.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    system.removeEventListener("change", changed);
  };
}
