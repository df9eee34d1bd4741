// Curves over steps, before they are drawn.

export interface Series {
  name: string;
  /** Which of the six colours. */
  tone: number;
  points: readonly (readonly [number, number])[];
  /** Few points, each marked, joined by a dashed line. */
  marked?: boolean;
}

/** From so many points on, a curve is drawn smoothed over its raw values. */
export const SMOOTHED = 16;

/** The running mean with a weight that falls off by 0.85 a step, corrected for its start. */
export function smooth(points: Series["points"]): [number, number][] {
  let [sum, weight] = [0, 0];
  return points.map(([step, loss]) => {
    sum = sum * 0.85 + loss;
    weight = weight * 0.85 + 1;
    return [step, sum / weight];
  });
}

/** Every step that some curve has a value at, with the value of each curve there. */
export function rows(series: readonly Series[]): { step: number; values: (number | undefined)[] }[] {
  const known = series.map(({ points }) => new Map(points));
  const steps = [...new Set(known.flatMap((points) => [...points.keys()]))].sort((a, b) => a - b);
  return steps.map((step) => ({ step, values: known.map((points) => points.get(step)) }));
}
