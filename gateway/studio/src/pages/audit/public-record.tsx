// What of a record is everybody's: its entry in the log, proved here. For those whose data an answer drew on, and who may
// read neither question nor answer.
import { useQuery } from "@tanstack/react-query";
import { ApiError, api, body, type Schemas } from "../../api/client";
import { save } from "../../trail/names";
import { useTrustedKey } from "../../trail/trusted-key";
import { Button } from "../../ui/button";
import { Badge, ErrorNote, Note, Waiting } from "../../ui/feedback";
import { Ago, Hash, plural } from "../../ui/text";
import { parseCheckpoint } from "../../verify";
import { utf8 } from "../../verify/bytes";
import { canonical, type Json } from "../../verify/canonical";
import { entryLeaf, parseEntry, rotation as rotationShape } from "../../verify/entry";
import { historyOf } from "../../verify/key-text";
import { climb } from "../../verify/merkle";

/** What the gateway gives; its description leaves entry and place open. */
interface Place {
  index: number;
  path: string[];
  checkpoint: string;
  rotations?: { rotation: unknown }[];
}

type Public = Schemas["PublicRecord"];

/** That the entry is in the log: its hash climbs to the root that the trusted key signed. Throws with what does not hold. */
export async function proveEntry(record: Public, trusted: string): Promise<{ size: number; root: string }> {
  const place = record.log as unknown as Place;
  const leaf = await entryLeaf(parseEntry(utf8(canonical(record.entry as unknown as Json))));
  const checkpoint = parseCheckpoint(place.checkpoint);
  const changes = (place.rotations ?? []).map(({ rotation }) =>
    canonical(rotationShape(rotation as Json, "rotation") as unknown as Json),
  );
  await (await historyOf([trusted.trimEnd(), ...changes, ""].join("\n"))).verify(checkpoint);
  const { root } = await climb(leaf, BigInt(place.index), checkpoint.size, place.path);
  if (root !== checkpoint.root) throw new Error("The entry’s hash does not lead to the signed root.");
  return { size: Number(checkpoint.size), root };
}

export function PublicRecord({ id, missing }: { id: string; missing: unknown }) {
  const { key } = useTrustedKey();
  const { data, error } = useQuery({
    queryKey: ["attributions", id, "entry"],
    queryFn: async () => {
      try {
        return body(await api.GET("/v1/attributions/{id}/entry", { params: { path: { id } } }));
      } catch (failure) {
        // Neither the record nor its entry: say what was said of the record.
        if (failure instanceof ApiError && failure.status === 404) return null;
        throw failure;
      }
    },
  });
  const proof = useQuery({
    queryKey: ["attributions", id, "entry", "proof", key],
    queryFn: () => proveEntry(data as Public, key as string),
    enabled: Boolean(data && key),
    retry: false,
  });
  if (error) return <ErrorNote error={error} />;
  if (data === null) return <ErrorNote error={missing} />;
  if (!data) return <Waiting lines={5} />;
  const entry = data.entry as { model?: string; citations?: { n: number }[] };
  const own = data.own_passages;
  const cited = (entry.citations ?? []).filter(({ n }) => own.includes(n)).length;
  return (
    <article className="card card-pad stack">
      <div className="row row-wrap">
        <h2>An answer that drew on your data</h2>
        {proof.data && (
          <Badge tone="good" dot>
            in the log
          </Badge>
        )}
      </div>
      <p className="quiet">
        Question and answer belong to whoever asked. What the log holds of this answer is public: it has no
        text and no name in it.
      </p>
      <dl className="facts">
        <dt>Answered</dt>
        <dd>
          <Ago at={data.created_at} />
        </dd>
        <dt>Model</dt>
        <dd>{entry.model}</dd>
        <dt>Your passages</dt>
        <dd>
          {own.length > 0
            ? `${plural(own.length, "passage")} in the prompt, cited ${plural(cited, "time")}`
            : "none of yours"}
        </dd>
        <dt>Entry of the log</dt>
        <dd className="numbers">{(data.log as unknown as Place).index}</dd>
        {proof.data && (
          <>
            <dt>Signed root</dt>
            <dd>
              <Hash value={proof.data.root} label="root hash" digits={24} /> over{" "}
              {plural(proof.data.size, "entry", "entries")}
            </dd>
          </>
        )}
      </dl>
      <div role="status">
        {proof.data && (
          <Note tone="good">
            Your browser computed the entry’s hash, followed it up to the root of the log, and checked the
            signature on that root.
          </Note>
        )}
      </div>
      <ErrorNote error={proof.error} />
      <details>
        <summary className="report-summary">The entry itself</summary>
        <pre className="note-text">{JSON.stringify(data.entry, null, 2)}</pre>
      </details>
      <div>
        <Button onClick={() => save(JSON.stringify(data), `${id}.entry.json`)}>
          Download entry and proof
        </Button>
      </div>
    </article>
  );
}
