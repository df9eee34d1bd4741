// Training: the runs so far, and the way to a new one.
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { api, body, request, type Schemas, upload } from "../../api/client";
import { datanets, models, queryClient, trainings } from "../../api/queries";
import { Button } from "../../ui/button";
import { Drop } from "../../ui/drop";
import { Badge, Empty, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { SelectField, TextField } from "../../ui/field";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { Ago, bytes, count } from "../../ui/text";
import "./train.css";

type Request = Schemas["FineTuningRequest"];

const PRESETS = {
  fast: "A first look: small, on the attention only, one pass over the data.",
  balanced: "What most want: all linear layers, three passes, and it stops when it no longer improves.",
  thorough: "When time is no matter: larger, five passes, a gentler pace.",
} as const;

/** Settings that are folded away: their name in the API, what they are called here, and a sentence on each. */
const SETTINGS: [name: string, label: string, hint: string][] = [
  ["r", "Rank", "How much the adapter can learn. 8 to 64 is usual."],
  ["alpha", "Alpha", "How strongly it is heard: alpha divided by rank scales it."],
  ["lr", "Learning rate", "How far each step goes. 0.0001 to 0.0005 is usual."],
  ["epochs", "Passes", "How often the data is gone through."],
  ["max_steps", "Steps at most", "Ends the run after so many steps, whatever the passes."],
  ["max_time", "Seconds at most", "Ends the run with what it has learnt by then."],
  ["batch_size", "Rows at once", "More is faster and takes more memory."],
  ["gradient_accumulation", "Batches a step", "Makes a step of several batches, without their memory."],
  ["max_length", "Longest row", "In tokens; longer rows are cut off and counted."],
  ["dropout", "Dropout", "Forgets a part of its input while training, 0 to 0.1, against learning by heart."],
  ["seed", "Seed", "The same seed and data give the same adapter."],
];

const TONES = { succeeded: "good", failed: "bad", cancelled: "warn", paused: "warn" } as const;

export function Status({ status }: { status: string }) {
  const tone = TONES[status as keyof typeof TONES];
  return (
    <Badge {...(tone ? { tone } : {})} dot={status === "running"}>
      {status}
    </Badge>
  );
}

export function Train() {
  const known = useQuery(trainings);
  const [making, setMaking] = useState(false);
  return (
    <Page
      title="Train"
      lead="Teach a base model from your own examples. The run goes on when you close this page."
      actions={
        !making && (
          <Button look="primary" onClick={() => setMaking(true)}>
            New run
          </Button>
        )
      }
    >
      <div className="stack-l">
        {making && <NewRun onClose={() => setMaking(false)} />}
        <ErrorNote error={known.error} />
        {!known.data && !known.error && <Waiting lines={3} />}
        {known.data && (
          <TableCard label="Runs">
            {known.data.length === 0 ? (
              <Empty title="No runs yet">
                Give a file of examples or a datanet, choose a preset, and chat with the result.
              </Empty>
            ) : (
              <table className="table">
                <thead>
                  <tr>
                    <th scope="col">Adapter</th>
                    <th scope="col">Status</th>
                    <th scope="col">Learns from</th>
                    <th scope="col">Loss</th>
                    <th scope="col">Started</th>
                  </tr>
                </thead>
                <tbody>
                  {known.data.map((job) => (
                    <tr key={job.id}>
                      <td>
                        <Link className="table-link" to="/train/$id" params={{ id: job.id }}>
                          {job.fine_tuned_model ?? `${job.model}, ${job.id.slice(-6)}`}
                        </Link>
                      </td>
                      <td>
                        <Status status={job.status} />
                      </td>
                      <td>{job.training_file.replace(/^datanet:/, "")}</td>
                      <td className="number">{lossOf(job)}</td>
                      <td>
                        <Ago at={new Date(job.created_at * 1000).toISOString()} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </TableCard>
        )}
      </div>
    </Page>
  );
}

function lossOf(job: Schemas["FineTuningJob"]): string {
  const loss = (job.progress as { loss?: number } | null)?.loss;
  return loss === undefined ? "" : loss.toFixed(3);
}

interface Preview {
  memory_bytes: number;
  memory_limit_bytes: number;
  fits: boolean;
  seconds: number;
  trained_parameters: number;
  validation: {
    train_rows: number;
    held_out_rows: number;
    bad_rows: number;
    bad: { row: string; line: number; reason: string }[];
    supervised_tokens: number;
    duplicate_rows: number;
    overlap_rows: number;
    too_long_rows: number;
    samples: { row: string; segments: { text: string; supervised: boolean }[] }[];
  };
}

function NewRun({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const bases = (useQuery(models).data ?? []).filter((model) => model.kind === "chat");
  const nets = useQuery(datanets).data ?? [];
  const [file, setFile] = useState<{ id: string; name: string }>();
  const [datanet, setDatanet] = useState("");
  const [preset, setPreset] = useState<keyof typeof PRESETS>("balanced");
  const send = useMutation({
    mutationFn: async (files: File[]) => {
      const [given] = files;
      if (!given) return;
      const form = upload([{ name: given.name, content: given }]);
      form.append("purpose", "fine-tune");
      const made = (await (await request("/v1/files", { method: "POST", body: form })).json()) as {
        id: string;
      };
      setFile({ id: made.id, name: given.name });
      setDatanet("");
    },
  });
  const preview = useMutation({
    mutationFn: async (wanted: Request) =>
      body(await api.POST("/v1/fine_tuning/preview", { body: wanted })) as unknown as Preview,
  });
  const start = useMutation({
    mutationFn: async (wanted: Request) => body(await api.POST("/v1/fine_tuning/jobs", { body: wanted })),
    onSuccess: async (job) => {
      await queryClient.invalidateQueries({ queryKey: ["trainings"] });
      await navigate({ to: "/train/$id", params: { id: job.id } });
    },
  });

  const read = (form: HTMLFormElement): Request => {
    const data = new FormData(form);
    const options = Object.fromEntries(
      SETTINGS.flatMap(([name]) => {
        const value = String(data.get(name) ?? "").trim();
        return value === "" ? [] : [[name, Number(value)]];
      }),
    );
    const name = String(data.get("name") ?? "").trim();
    return {
      model: String(data.get("base")),
      training_file: datanet ? `datanet:${datanet}` : (file?.id ?? ""),
      ...(datanet
        ? { template: { user: String(data.get("user")), assistant: String(data.get("assistant")) } }
        : {}),
      ...(name ? { suffix: name } : {}),
      method: { type: String(data.get("method")), preset, options: options as Record<string, never> },
    };
  };
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const submitter = (event.nativeEvent as SubmitEvent).submitter as HTMLButtonElement | null;
    const wanted = read(event.currentTarget);
    if (submitter?.value === "start") start.mutate(wanted);
    else preview.mutate(wanted);
  };
  const ready = file !== undefined || datanet !== "";
  return (
    <form className="card card-pad stack" onSubmit={submit} aria-label="New run">
      <h2>New run</h2>
      <div className="fields">
        <SelectField label="Base model" name="base" hint="What the adapter is added to.">
          {bases.map((base) => (
            <option key={base.id}>{base.id}</option>
          ))}
        </SelectField>
        <TextField
          label="Name of the adapter"
          name="name"
          placeholder="my-style"
          hint="How you will ask for it in chat."
        />
      </div>
      <SelectField
        label="Learn from"
        value={datanet}
        onChange={(event) => setDatanet(event.target.value)}
        hint="A datanet that you may train on, or a file of examples."
      >
        <option value="">{file ? file.name : "a file"}</option>
        {nets.map((net) => (
          <option key={net.name} value={net.name}>
            {net.title || net.name}
          </option>
        ))}
      </SelectField>
      {datanet === "" ? (
        <Drop
          label={file ? `${file.name} is uploaded; choose another` : "Drop a file of examples, or choose one"}
          hint="JSON lines: chat messages, prompt and completion, alpaca, sharegpt, or plain text."
          accept=".jsonl,.json,.txt,.md"
          onFiles={(files) => send.mutate(files)}
        />
      ) : (
        <div className="fields">
          <TextField
            label="What is asked"
            name="user"
            defaultValue="Define: {title}"
            hint="Fields of a row stand in braces: {title}, {text}, {contributor}, {metadata.…}."
          />
          <TextField label="What is learnt" name="assistant" defaultValue="{text}" hint="The answer to it." />
        </div>
      )}
      <ErrorNote error={send.error} />
      <div className="fields">
        <SelectField
          label="Preset"
          value={preset}
          onChange={(event) => setPreset(event.target.value as keyof typeof PRESETS)}
          hint={PRESETS[preset]}
        >
          {Object.keys(PRESETS).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </SelectField>
        <SelectField
          label="Method"
          name="method"
          hint="QLoRA keeps the base in 4 bits and needs the least memory; LoRA keeps it as it is."
        >
          <option value="qlora">QLoRA</option>
          <option value="lora">LoRA</option>
        </SelectField>
      </div>
      <details>
        <summary>All settings</summary>
        <div className="fields">
          {SETTINGS.map(([name, label, hint]) => (
            <TextField
              key={name}
              label={label}
              name={name}
              inputMode="decimal"
              placeholder="as the preset has it"
              hint={hint}
            />
          ))}
        </div>
      </details>
      {preview.data && <Found preview={preview.data} />}
      <ErrorNote error={preview.error ?? start.error} />
      <div className="row">
        <Button type="submit" value="start" look="primary" disabled={!ready || start.isPending}>
          {start.isPending ? "Checking the data…" : "Start training"}
        </Button>
        <Button type="submit" value="preview" disabled={!ready || preview.isPending}>
          {preview.isPending ? "Looking…" : "Preview"}
        </Button>
        <Button look="quiet" onClick={onClose}>
          Cancel
        </Button>
      </div>
    </form>
  );
}

function Found({ preview }: { preview: Preview }) {
  const found = preview.validation;
  const minutes = Math.max(1, Math.round(preview.seconds / 60));
  return (
    <section className="stack" aria-label="Preview">
      <dl className="train-figures">
        <Figure name="Memory" value={bytes(preview.memory_bytes)} />
        <Figure name="Time" value={minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`} />
        <Figure name="Rows to learn" value={count(found.train_rows)} />
        <Figure name="Held out" value={count(found.held_out_rows)} />
        <Figure name="Tokens learnt" value={count(found.supervised_tokens)} />
      </dl>
      {!preview.fits && (
        <Note tone="bad">
          This will not fit into the {bytes(preview.memory_limit_bytes)} that a run may take. Choose QLoRA,
          fewer rows at once or shorter rows.
        </Note>
      )}
      {found.bad_rows > 0 && (
        <Note tone="warn">
          {count(found.bad_rows)} rows cannot be used.{" "}
          {found.bad[0] && `${found.bad[0].row}: ${found.bad[0].reason}`}
        </Note>
      )}
      {found.too_long_rows > 0 && (
        <Note>{count(found.too_long_rows)} rows are longer than allowed and will be cut off.</Note>
      )}
      {found.overlap_rows > 0 && (
        <Note tone="warn">
          {count(found.overlap_rows)} held-out rows say the same as rows that are learnt: the evaluation will
          be too good.
        </Note>
      )}
      {found.samples[0] && (
        <div className="stack-s">
          <h3>What the model will see</h3>
          <p className="field-hint">The marked part is learnt; the rest is only read.</p>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
          <section className="train-sample" tabIndex={0} aria-label="A rendered row">
            {found.samples[0].segments.map((segment, at) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: the parts never move
              <Part key={at} {...segment} />
            ))}
          </section>
        </div>
      )}
    </section>
  );
}

function Part({ text, supervised }: { text: string; supervised: boolean }) {
  return supervised ? <mark>{text}</mark> : <span>{text}</span>;
}

export function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
