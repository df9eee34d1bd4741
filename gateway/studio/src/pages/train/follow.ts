// Follows a run by its events. The stream begins with the first one, so whoever comes back sees all that went before.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { request } from "../../api/client";
import { events } from "../../api/sse";
import { type Course, course } from "./course";
import type { JobEvent } from "./shapes";

/** How long events are gathered before the page is drawn again. */
const GATHER = 80;

export function useCourse(id: string, live: boolean): Course | null {
  const client = useQueryClient();
  const [state, setState] = useState<Course | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a run that went on after a pause is followed again
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const follow = async () => {
      const all: JobEvent[] = [];
      const draw = () => {
        timer = undefined;
        setState(course([...all]));
      };
      const response = await request(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}/events?stream=true`, {
        signal: controller.signal,
      });
      for await (const data of events(response)) {
        if (data === "[DONE]") {
          clearTimeout(timer);
          draw();
          return true;
        }
        all.push(JSON.parse(data) as JobEvent);
        timer ??= setTimeout(draw, GATHER);
      }
      return false;
    };
    const keep = async () => {
      while (!controller.signal.aborted) {
        const over = await follow().catch(() => false);
        if (over) {
          // Home counts runs, and the run brought an adapter.
          for (const key of ["trainings", "adapters"]) void client.invalidateQueries({ queryKey: [key] });
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    };
    void keep();
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [id, live]);
  return state;
}
