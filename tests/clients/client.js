// What a user of the AWS SDK for JavaScript runs: one search to its end, and the other reading calls.
// Takes {endpoint, datastoreId, imageSetId, searchCriteria} and, where signatures are checked, a key's {accessKeyId,
// secretAccessKey} as `credentials`, in its argument, and prints what came back, as JSON.
import {
  GetDatastoreCommand,
  GetImageFrameCommand,
  GetImageSetCommand,
  GetImageSetMetadataCommand,
  ListImageSetVersionsCommand,
  MedicalImagingClient,
  paginateListDatastores,
  paginateSearchImageSets,
} from "@aws-sdk/client-medical-imaging";

const { endpoint, datastoreId, imageSetId, searchCriteria, credentials } = JSON.parse(process.argv[2], (name, value) =>
  name === "createdAt" || name === "updatedAt" ? new Date(value) : value,
);

const client = new MedicalImagingClient({
  endpoint,
  disableHostPrefix: true,
  region: "us-east-1",
  credentials: credentials ?? { accessKeyId: "any", secretAccessKey: "any" },
});

const refusal = async (command) => {
  try {
    await client.send(command);
    return null;
  } catch (error) {
    return [error.name, error.$metadata.httpStatusCode, error.message, error.$metadata.requestId.length];
  }
};

const pages = [];
for await (const page of paginateSearchImageSets({ client, pageSize: 50 }, { datastoreId, searchCriteria })) {
  pages.push(page.imageSetsMetadataSummaries);
}
const datastores = [];
for await (const page of paginateListDatastores({ client }, {})) {
  datastores.push(...page.datastoreSummaries);
}
const { datastoreProperties } = await client.send(new GetDatastoreCommand({ datastoreId }));
const { $metadata: _, ...imageSet } = await client.send(new GetImageSetCommand({ datastoreId, imageSetId }));
const { imageSetPropertiesList } = await client.send(new ListImageSetVersionsCommand({ datastoreId, imageSetId }));
const imageFrameInformation = { imageFrameId: "0".repeat(32) };

console.log(
  JSON.stringify({
    pages,
    datastores,
    datastoreProperties,
    imageSet,
    imageSetPropertiesList,
    metadata: await refusal(new GetImageSetMetadataCommand({ datastoreId, imageSetId })),
    frame: await refusal(new GetImageFrameCommand({ datastoreId, imageSetId, imageFrameInformation })),
  }),
);
