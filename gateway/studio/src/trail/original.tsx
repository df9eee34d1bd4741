// The file that a passage was cut from: where it stands in it, and the file itself.
import { useState } from "react";
import { request, type Schemas } from "../api/client";
import { Button } from "../ui/button";
import { ErrorNote } from "../ui/feedback";
import { save } from "./names";

/** What the gateway notes of a passage's place, in its metadata. */
export const PLACE = ["file", "document", "passage", "characters", "page"];

type Passage = Pick<Schemas["Candidate"], "datanet" | "metadata">;

export function Original({ passage }: { passage: Passage }) {
  const [error, setError] = useState<unknown>();
  const { file, document, characters, page } = passage.metadata as Record<string, unknown>;
  if (typeof file !== "string" || typeof document !== "string") return null;
  const download = async () => {
    setError(undefined);
    try {
      const path = `/v1/datanets/${encodeURIComponent(passage.datanet)}/documents/${document}`;
      save(new Uint8Array(await (await request(path)).arrayBuffer()), file);
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <>
      <dt>Document</dt>
      <dd>
        {file}
        {typeof page === "number" && `, page ${page}`}
        {Array.isArray(characters) && `, characters ${characters[0]} to ${characters[1]}`}{" "}
        <Button small look="quiet" onClick={download}>
          Download it
        </Button>
        <ErrorNote error={error} />
      </dd>
    </>
  );
}
