// Losses by step, drawn as SVG: the training loss as a line, the held-out loss as dots.
export interface Point {
  step: number;
  loss: number;
}

const WIDTH = 640;
const HEIGHT = 220;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 10;

export function Curves({ train, heldOut, steps }: { train: Point[]; heldOut: Point[]; steps: number }) {
  const losses = [...train, ...heldOut].map((point) => point.loss);
  if (losses.length === 0) return <p className="curves-empty">The curve begins with the first step.</p>;
  const low = Math.min(...losses);
  const high = Math.max(...losses);
  const pad = Math.max((high - low) * 0.1, 0.02);
  const [from, to] = [low - pad, high + pad];
  const x = (step: number) => LEFT + ((step - 1) / Math.max(1, steps - 1)) * (WIDTH - LEFT - 12);
  const y = (loss: number) => TOP + ((to - loss) / (to - from)) * (HEIGHT - TOP - BOTTOM);
  const ticks = [0, 1, 2, 3].map((tick) => from + ((to - from) * (tick + 0.5)) / 4);
  const last = train.at(-1);
  const summary = last
    ? `Training loss by step: ${last.loss.toFixed(3)} after step ${last.step}, from ${train[0]?.loss.toFixed(3)}.`
    : "Losses by step.";
  return (
    <figure className="curves">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={summary}>
        {ticks.map((tick) => (
          <g key={tick}>
            <line className="curves-grid" x1={LEFT} x2={WIDTH - 12} y1={y(tick)} y2={y(tick)} />
            <text className="curves-label" x={LEFT - 8} y={y(tick) + 4} textAnchor="end">
              {tick.toFixed(2)}
            </text>
          </g>
        ))}
        <text className="curves-label" x={LEFT} y={HEIGHT - 6}>
          step 1
        </text>
        <text className="curves-label" x={WIDTH - 12} y={HEIGHT - 6} textAnchor="end">
          {steps}
        </text>
        <polyline
          className="curves-line"
          points={train.map((point) => `${x(point.step)},${y(point.loss)}`).join(" ")}
        />
        {train.length === 1 && train[0] && (
          <circle className="curves-first" cx={x(train[0].step)} cy={y(train[0].loss)} r={2.5} />
        )}
        {heldOut.map((point) => (
          <circle key={point.step} className="curves-dot" cx={x(point.step)} cy={y(point.loss)} r={4} />
        ))}
      </svg>
      <figcaption className="row">
        <span className="curves-key curves-key-line">Training loss</span>
        <span className="curves-key curves-key-dot">Held-out loss</span>
      </figcaption>
    </figure>
  );
}
