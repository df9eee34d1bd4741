// The course of a run, from its events.
import type { Evaluated, JobEvent, LossPoint, Step } from "./shapes";

export interface Course {
  events: JobEvent[];
  steps: Step[];
  heldOut: LossPoint[];
}

/** Events in order. A run that was interrupted repeats the steps since its last checkpoint: the later one counts. */
export function course(all: JobEvent[]): Course {
  const steps = new Map<number, Step>();
  const heldOut = new Map<number, LossPoint>();
  for (const { data } of all) {
    const figures = data as unknown as Step | Evaluated | null;
    if (figures?.event === "step") steps.set(figures.step, figures);
    if (figures?.event === "evaluated") heldOut.set(figures.step, figures);
  }
  const byStep = (one: { step: number }, other: { step: number }) => one.step - other.step;
  return {
    events: all,
    steps: [...steps.values()].sort(byStep),
    heldOut: [...heldOut.values()].sort(byStep),
  };
}
