// Prometheus' text format, as far as the gateway writes it.

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export function parseMetrics(text: string): Sample[] {
  return text.split("\n").flatMap((line) => {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match?.[1]) return [];
    const labels = [...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((label) => [
      label[1],
      label[2],
    ]);
    return [{ name: match[1], labels: Object.fromEntries(labels), value: Number(match[3]) }];
  });
}

/** The sum over all samples of a name with these labels. */
export function total(samples: Sample[], name: string, labels: Record<string, string> = {}): number {
  const fits = (sample: Sample) =>
    sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
  return samples.filter(fits).reduce((sum, { value }) => sum + value, 0);
}

/** The mean of a histogram; none before its first observation. */
export function mean(samples: Sample[], name: string): number | undefined {
  const number = total(samples, `${name}_count`);
  return number > 0 ? total(samples, `${name}_sum`) / number : undefined;
}
