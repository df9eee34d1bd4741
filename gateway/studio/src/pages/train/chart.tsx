// Curves over steps: axes with round numbers, a legend, and the values under the pointer.
import { type PointerEvent, useEffect, useRef, useState } from "react";
import { figure } from "./measures";

export interface Series {
  name: string;
  /** Which of the six colours. */
  tone: number;
  points: readonly (readonly [number, number])[];
  /** Few points, each marked, joined by a dashed line. */
  marked?: boolean;
}

const HEIGHT = 260;
const EDGE = { top: 12, right: 12, bottom: 28, left: 44 };

export function Chart({ label, series, most }: { label: string; series: Series[]; most?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState<number | null>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const shown = series.filter(({ points }) => points.length > 0);
  const all = shown.flatMap(({ points }) => points);
  const last = Math.max(most ?? 0, ...all.map(([step]) => step), 2);
  const losses = all.map(([, loss]) => loss);
  const [low, high] = losses.length > 0 ? [Math.min(...losses), Math.max(...losses)] : [0, 1];
  const room = (high - low || high || 1) * 0.08;
  const [from, to] = [Math.max(0, low - room), high + room];
  const [inner, tall] = [Math.max(1, width - EDGE.left - EDGE.right), HEIGHT - EDGE.top - EDGE.bottom];
  const x = (step: number) => EDGE.left + ((step - 1) / (last - 1)) * inner;
  const y = (loss: number) => EDGE.top + (1 - (loss - from) / (to - from)) * tall;
  const point = (event: PointerEvent) => {
    const left = event.currentTarget.getBoundingClientRect().left;
    const step = ((event.clientX - left - EDGE.left) / inner) * (last - 1) + 1;
    const steps = all.map(([known]) => known);
    if (steps.length === 0) return;
    setAt(steps.reduce((near, known) => (Math.abs(known - step) < Math.abs(near - step) ? known : near)));
  };
  const spoken = shown.map(({ name, points }) => {
    const [first, end] = [points[0], points.at(-1)];
    return first && end
      ? `${name}: ${figure(first[1])} at step ${first[0]}, ${figure(end[1])} at step ${end[0]}`
      : "";
  });
  return (
    <figure className="chart">
      <figcaption className="chart-legend">
        {series.map(({ name, tone, marked, points }) => {
          const value = at === null ? points.at(-1)?.[1] : points.find(([step]) => step === at)?.[1];
          return (
            <span key={name} className={`chart-key tone-${tone}`}>
              <i className={marked ? "chart-swatch chart-swatch-marked" : "chart-swatch"} aria-hidden />
              {name} <strong className="numbers">{value === undefined ? "–" : value.toFixed(3)}</strong>
            </span>
          );
        })}
        <span className="push quiet numbers">{at === null ? "" : `step ${at}`}</span>
      </figcaption>
      <div ref={box} className="chart-box">
        {width > 0 && (
          <svg
            width={width}
            height={HEIGHT}
            role="img"
            aria-label={`${label}. ${spoken.join(". ") || "Nothing yet"}.`}
            onPointerMove={point}
            onPointerLeave={() => setAt(null)}
          >
            {ticks(from, to, 4).map((loss) => (
              <g key={loss}>
                <line
                  className="chart-grid"
                  x1={EDGE.left}
                  x2={width - EDGE.right}
                  y1={y(loss)}
                  y2={y(loss)}
                />
                <text className="chart-text" x={EDGE.left - 8} y={y(loss) + 4} textAnchor="end">
                  {Number(loss.toPrecision(6))}
                </text>
              </g>
            ))}
            {ticks(1, last, Math.max(2, Math.floor(inner / 110)), true).map((step) => (
              <text key={step} className="chart-text" x={x(step)} y={HEIGHT - 8} textAnchor="middle">
                {step}
              </text>
            ))}
            {shown.map((one) => (
              <Curve key={one.name} series={one} x={x} y={y} />
            ))}
            {at !== null && (
              <line className="chart-at" x1={x(at)} x2={x(at)} y1={EDGE.top} y2={HEIGHT - EDGE.bottom} />
            )}
          </svg>
        )}
        {all.length === 0 && <p className="chart-empty quiet">The curve begins with the first step.</p>}
      </div>
    </figure>
  );
}

function Curve({
  series,
  x,
  y,
}: {
  series: Series;
  x: (step: number) => number;
  y: (loss: number) => number;
}) {
  const { points, tone, marked } = series;
  const path = (all: Series["points"]) =>
    all.map(([step, loss], n) => `${n ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
  if (marked || points.length < SMOOTHED) {
    return (
      <g className={`tone-${tone}`}>
        <path className={marked ? "chart-line chart-line-marked" : "chart-line"} d={path(points)} />
        {points.map(([step, loss]) => (
          <circle
            key={step}
            className={marked ? "chart-dot chart-dot-marked" : "chart-dot"}
            cx={x(step)}
            cy={y(loss)}
            r={marked ? 4 : 3}
          />
        ))}
      </g>
    );
  }
  return (
    <g className={`tone-${tone}`}>
      <path className="chart-line chart-line-raw" d={path(points)} />
      <path className="chart-line" d={path(smooth(points))} />
    </g>
  );
}

/** From so many points on, a curve is drawn smoothed over its raw values. */
const SMOOTHED = 16;

/** The running mean with a weight that falls off by 0.85 a step, corrected for its start. */
export function smooth(points: Series["points"]): [number, number][] {
  let [sum, weight] = [0, 0];
  return points.map(([step, loss]) => {
    sum = sum * 0.85 + loss;
    weight = weight * 0.85 + 1;
    return [step, sum / weight];
  });
}

/** Round numbers between two others. */
export function ticks(from: number, to: number, about: number, whole = false): number[] {
  const rough = (to - from) / about || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? rough;
  const step = whole ? Math.max(1, Math.round(size)) : size;
  const all: number[] = [];
  for (let n = Math.ceil(from / step); n * step <= to + step * 1e-9; n += 1) all.push(n * step);
  return all;
}
