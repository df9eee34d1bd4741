// Whether every use of a contributor's data is shown: the log's signed count beside the uses listed, checked here.
import { useMutation } from "@tanstack/react-query";
import { ListChecks } from "lucide-react";
import { api, body, type Schemas } from "../../api/client";
import { useTrustedKey } from "../../trail/trusted-key";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Spinner } from "../../ui/feedback";
import { plural } from "../../ui/text";
import { commitmentOf, type Opening } from "../../verify/bundle";
import { fromBase64, utf8 } from "../../verify/bytes";
import { ed25519 } from "../../verify/crypto";
import { historyOf } from "../../verify/key-text";

/** The log's signed word, as the gateway passes it on. */
interface Statement {
  origin: string;
  size: number;
  root: string;
  contributor: string;
  count: number;
  signature: string;
}

/** Checks whose count it is and who signed it; gives the count. Throws with what does not hold. */
export async function countOf(uses: Schemas["ContributorUses"], trusted: string): Promise<number> {
  const opening = uses.opening as unknown as Opening;
  const { origin, size, root, contributor, count, signature } = uses.statement as unknown as Statement;
  if (opening.value !== uses.contributor || (await commitmentOf(opening)) !== contributor)
    throw new Error("The signed count is of another contributor.");
  const key = (await historyOf(trusted)).at(BigInt(size));
  const signed = fromBase64(signature);
  const message = utf8(`cairn/uses/v1\n${origin}\n${size}\n${root}\n${contributor}\n${count}\n`);
  if (origin !== key.origin || signed?.length !== 64 || !(await ed25519(key.key, signed, message)))
    throw new Error("The count is not signed by the log’s key.");
  return count;
}

export function UsesCheck({ contributor }: { contributor: string }) {
  const { key } = useTrustedKey();
  const check = useMutation({
    mutationFn: async () => {
      const path = { name: contributor };
      const uses = body(await api.GET("/v1/contributors/{name}/uses", { params: { path } }));
      const counted = await countOf(uses, key as string);
      const answers = new Set<string>();
      let after: string | undefined;
      do {
        const query = { contributor, ...(after ? { after } : {}) };
        const page = body(await api.GET("/v1/ledger", { params: { query } }));
        for (const line of page.lines) answers.add(line.answer);
        after = page.has_more ? page.lines.at(-1)?.answer : undefined;
      } while (after);
      return { counted, listed: answers.size };
    },
  });
  const same = check.data && check.data.listed >= check.data.counted;
  return (
    <div className="stack-s">
      <div className="row row-wrap">
        <Button small disabled={!key || check.isPending} onClick={() => check.mutate()}>
          {check.isPending ? <Spinner size={14} /> : <ListChecks size={14} aria-hidden />}
          Check that no use was left out
        </Button>
        <span className="quiet small">against the log’s signed count for {contributor}</span>
      </div>
      <div role="status">
        {check.data && (
          <Note tone={same ? "good" : "bad"}>
            {same
              ? `The log signed that ${plural(check.data.counted, "answer")} drew on this contributor’s data, and all are listed.`
              : `The log signed that ${plural(check.data.counted, "answer")} drew on this contributor’s data; ${check.data.listed} are listed.`}
          </Note>
        )}
      </div>
      <ErrorNote error={check.error} />
    </div>
  );
}
