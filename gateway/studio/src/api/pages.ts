// Lists that are read a page at a time: the pages so far, as one list, and whether there are more.
import { infiniteQueryOptions } from "@tanstack/react-query";

interface Page<T> {
  data: T[];
  has_more?: boolean;
}

/** Which part of a list to give. */
export interface Part {
  after?: string;
  limit?: number;
}

/** A list under a key; `read` asks for what comes after an id. */
export function paged<T extends { id: string }, K extends readonly unknown[]>(
  queryKey: K,
  read: (part: Part) => Promise<Page<T>>,
) {
  return infiniteQueryOptions({
    queryKey,
    queryFn: ({ pageParam }) => read(pageParam ? { after: pageParam } : {}),
    initialPageParam: "",
    getNextPageParam: (page: Page<T>) => (page.has_more ? page.data.at(-1)?.id : undefined),
    select: ({ pages }) => pages.flatMap((page) => page.data),
  });
}

/** A list to its end. */
export async function whole<T extends { id: string }>(read: (part: Part) => Promise<Page<T>>): Promise<T[]> {
  const all: T[] = [];
  let page: Page<T>;
  do {
    const last = all.at(-1);
    page = await read({ limit: 1000, ...(last && { after: last.id }) });
    all.push(...page.data);
  } while (page.has_more && page.data.length > 0);
  return all;
}
