// Erasure: a datapoint, or everything of a contributor, goes for good; what it cannot undo is said.
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Confirm } from "../../ui/dialog";
import { Note } from "../../ui/feedback";
import { Segments } from "../../ui/field";
import { plural } from "../../ui/text";

type Datapoint = Pick<Schemas["Datapoint"], "id" | "contributor">;

export function useWithdrawal(datanet: string) {
  const client = useQueryClient();
  const [wanted, setWanted] = useState<Datapoint | null>(null);
  const [extent, setExtent] = useState<"one" | "all">("one");
  const [done, setDone] = useState<Schemas["Erasure"] | null>(null);
  const erase = async () => {
    if (!wanted) return;
    const what = extent === "one" ? { datapoints: [wanted.id] } : { contributor: wanted.contributor };
    const path = { name: datanet };
    setDone(body(await api.POST("/v1/datanets/{name}/erasures", { params: { path }, body: what })));
    await client.invalidateQueries({ queryKey: ["datanets"] });
  };
  const dialog = (
    <Confirm
      open={wanted !== null}
      onClose={() => setWanted(null)}
      title={extent === "one" ? "Withdraw this datapoint?" : `Withdraw everything of ${wanted?.contributor}?`}
      action="Withdraw for ever"
      onConfirm={erase}
    >
      <Segments
        label="What is withdrawn"
        value={extent}
        options={[
          ["one", "This datapoint"],
          ["all", `Everything of ${wanted?.contributor}`],
        ]}
        onChange={setExtent}
      />
      <p>
        Its text, source and metadata, its vector and its place in the searches go from {datanet}, with every
        older version and the document it was cut from. Nobody can bring it back.
      </p>
      <p>
        The log keeps a tombstone without a word of it. Proofs made before stay valid; later ones say when it
        was erased. What adapters learnt from it stays in them: you are told which they are.
      </p>
    </Confirm>
  );
  const withdraw = (datapoint: Datapoint) => {
    setExtent("one");
    setWanted(datapoint);
  };
  return { withdraw, dialog, note: done && <Done erasure={done} /> };
}

function Done({ erasure }: { erasure: Schemas["Erasure"] }) {
  const entries = erasure.erased.slice(0, 5).map((one) => one.log_index);
  return (
    <Note tone="good">
      <p>
        {plural(erasure.erased.length, "datapoint")} withdrawn from {erasure.datanet}.{" "}
        {entries.length === 1 ? "Its tombstone is entry" : "Tombstones are entries"} {entries.join(", ")}
        {erasure.erased.length > entries.length && " and following"} of the log.{" "}
        {plural(erasure.answers, "answer")} had been given it.
      </p>
      {erasure.adapters.length === 0 ? (
        <p>No adapter was trained on it.</p>
      ) : (
        <ul>
          {erasure.adapters.map((one) => (
            <li key={one.job}>
              {one.base}:{one.alias} of {one.owner} learnt from it.
            </li>
          ))}
        </ul>
      )}
    </Note>
  );
}
