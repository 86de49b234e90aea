{{/* Messages about values for a bucket that cannot work. */}}

{{- define "lighterage.refuse.bucket" -}}
{{- $storage := .Values.storage -}}
{{- $blobs := (.Values.config | default dict).blobs | default dict -}}
{{- $store := $blobs.store | default "disk" -}}
{{- $place := get $blobs $store | default dict -}}
{{- $named := or $place.bucket (and $place.account $place.container) -}}
{{- $messages := list -}}

{{- if and (eq $storage.layout "bucket") (not .Values.existingConfigMap) (or (eq $store "disk") (not $named)) -}}
{{- $messages = append $messages "storage.layout is bucket, but no bucket is configured. Set config.blobs to {store: s3, s3: {bucket: NAME, region: REGION}}, with an endpoint if it is not Amazon's; or to {store: gcs, gcs: {bucket: NAME}}; or to {store: azure, azure: {account: NAME, container: NAME}}." -}}
{{- end -}}
{{- if and (ne $storage.layout "bucket") (ne $store "disk") -}}
{{- $messages = append $messages (printf "config.blobs.store is %s, but storage.layout is %s: pods that store blobs in a bucket need no claims. Set storage.layout to bucket." $store $storage.layout) -}}
{{- end -}}
{{- if and (eq $storage.layout "bucket") $storage.existingClaim -}}
{{- $messages = append $messages "storage.existingClaim is not used with storage.layout: bucket: running transfers are in an empty directory. Leave it empty." -}}
{{- end -}}
{{- if and (eq $storage.layout "bucket") (hasKey $blobs "max_size") -}}
{{- $messages = append $messages "config.blobs.max_size has no effect with storage.layout: bucket. Remove it, and bound the bucket by a lifecycle rule for objects below blobs/." -}}
{{- end -}}

{{- range $key := list "secret_access_key" "access_key" -}}
{{- if get $place $key -}}
{{- $messages = append $messages (printf "config.blobs.%s.%s is a secret, and a ConfigMap is not for secrets. Put it into a Secret, and name that in storage.bucket.existingSecret." $store $key) -}}
{{- end -}}
{{- end -}}
{{- if and $storage.bucket.existingSecret (ne $storage.layout "bucket") -}}
{{- $messages = append $messages "storage.bucket.existingSecret is the login of a bucket, but storage.layout is not bucket. Remove it, or set storage.layout to bucket." -}}
{{- end -}}
{{- if and $storage.bucket.existingSecret .Values.existingConfigMap -}}
{{- $messages = append $messages "existingConfigMap: with it the chart writes no settings. Mount the bucket's login with extraVolumes, and name its files in your ConfigMap." -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
