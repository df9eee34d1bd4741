// Draws curves with Chart.js: of that library only what lines need, in the page's own colours.
import {
  Chart,
  type ChartDataset,
  type ChartOptions,
  LinearScale,
  LineController,
  LineElement,
  type Plugin,
  PointElement,
} from "chart.js";
import { type Series, SMOOTHED, smooth } from "./curve";

Chart.register(LineController, LineElement, PointElement, LinearScale);

export type Line = Chart<"line", { x: number; y: number }[]>;

/** Where the reader is, drawn as a line down the chart. */
const mark = new WeakMap<Chart, number | null>();

const marker: Plugin<"line"> = {
  id: "marker",
  afterDatasetsDraw(chart) {
    const at = mark.get(chart) ?? null;
    const { x } = chart.scales;
    if (at === null || !x) return;
    const { ctx, chartArea } = chart;
    ctx.save();
    ctx.strokeStyle = colour("--ink-3");
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(x.getPixelForValue(at), chartArea.top);
    ctx.lineTo(x.getPixelForValue(at), chartArea.bottom);
    ctx.stroke();
    ctx.restore();
  },
};

export function create(canvas: HTMLCanvasElement, onPoint: (step: number | null) => void): Line {
  const chart: Line = new Chart(canvas, {
    type: "line",
    data: { datasets: [] },
    options: options(),
    plugins: [marker],
  });
  canvas.addEventListener("pointermove", (event) => {
    const step = chart.scales.x?.getValueForPixel(event.offsetX);
    onPoint(step ?? null);
  });
  canvas.addEventListener("pointerleave", () => onPoint(null));
  return chart;
}

/** Puts the curves in; `most` steps are to be expected. */
export function fill(chart: Line, series: readonly Series[], most: number | undefined): void {
  const steps = series.flatMap(({ points }) => points.map(([step]) => step));
  chart.data.datasets = series.flatMap(datasets);
  chart.options = options(Math.max(most ?? 0, ...steps, 2));
  chart.update("none");
}

export function point(chart: Line, at: number | null): void {
  mark.set(chart, at);
  chart.draw();
}

function datasets({
  name,
  tone,
  points,
  marked,
}: Series): ChartDataset<"line", { x: number; y: number }[]>[] {
  const line = colour(`--series-${tone}`);
  const asData = (all: Series["points"]) => all.map(([x, y]) => ({ x, y }));
  const common = { label: name, borderColor: line, backgroundColor: line, borderWidth: 2, tension: 0 };
  if (marked) {
    const surface = colour("--surface");
    return [
      {
        ...common,
        data: asData(points),
        borderDash: [5, 4],
        pointRadius: 4,
        pointBackgroundColor: surface,
        pointBorderWidth: 2,
      },
    ];
  }
  if (points.length < SMOOTHED) return [{ ...common, data: asData(points), pointRadius: 3 }];
  const faint = `color-mix(in srgb, ${line} 30%, transparent)`;
  return [
    { ...common, data: asData(smooth(points)), pointRadius: 0 },
    { ...common, data: asData(points), borderColor: faint, borderWidth: 1, pointRadius: 0 },
  ];
}

function options(most = 2): ChartOptions<"line"> {
  const text = { color: colour("--ink-3"), font: { family: colour("--sans"), size: 12 } };
  return {
    animation: false,
    maintainAspectRatio: false,
    parsing: false,
    // What is under the pointer is said above the chart, where there is room for all curves.
    events: [],
    layout: { padding: { top: 8, right: 8 } },
    scales: {
      x: {
        type: "linear",
        min: 1,
        max: most,
        grid: { display: false },
        border: { color: colour("--line-strong") },
        ticks: { ...text, precision: 0, maxTicksLimit: 8, autoSkipPadding: 24, maxRotation: 0 },
      },
      y: {
        type: "linear",
        grace: "8%",
        grid: { color: colour("--line") },
        border: { display: false },
        ticks: { ...text, maxTicksLimit: 5 },
      },
    },
  };
}

/** A colour or a font of the page, as it is in the theme of the moment. */
function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
