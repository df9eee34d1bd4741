// Follows a job by its events; a broken connection is taken up again until the job has ended.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { request, type Schemas } from "./client";
import { events } from "./sse";

type Job = Schemas["Job"];

export function ended(job: Job): boolean {
  return job.state === "succeeded" || job.state === "failed" || job.state === "cancelled";
}

/** The job as it moves. `onEnd` is called once, when it has ended while being followed. */
export function useJob(first: Job | null, onEnd?: (job: Job) => void): Job | null {
  const client = useQueryClient();
  const [job, setJob] = useState(first);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a job is followed once, by its id
  useEffect(() => {
    setJob(first);
    if (!first || ended(first)) return;
    const controller = new AbortController();
    const follow = async () => {
      const response = await request(`/v1/jobs/${encodeURIComponent(first.id)}/events`, {
        signal: controller.signal,
      });
      for await (const data of events(response)) {
        const moved = JSON.parse(data) as Job;
        setJob(moved);
        if (!ended(moved)) continue;
        await client.invalidateQueries({ queryKey: ["jobs"] });
        onEnd?.(moved);
        return true;
      }
      return false;
    };
    const keep = async () => {
      while (!controller.signal.aborted) {
        const over = await follow().catch(() => false);
        if (over) return;
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    };
    void keep();
    return () => controller.abort();
  }, [first?.id]);
  return job;
}
