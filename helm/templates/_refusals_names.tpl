{{/* Names that other charts have for values of this one: where the meaning is the same, what it is called here. */}}

{{- define "lighterage.refuse.names" -}}
{{- $messages := list -}}
{{- $here := dict
  "replicaCount" "replicas"
  "env" "extraEnv"
  "extraEnvVars" "extraEnv"
  "envFrom" "extraEnvFrom"
  "extraEnvVarsCM" "extraEnvFrom: [{configMapRef: {name: …}}]"
  "extraEnvVarsSecret" "extraEnvFrom: [{secretRef: {name: …}}]"
  "configData" "config, with settings as in config/lighterage.yaml"
  "configYaml" "config, with settings as in config/lighterage.yaml"
  "proxy" "config.upstreams, and credentials for its login"
  "persistence" "storage: {size: …, className: …, existingClaim: …}; storage.layout: none for enabled: false"
  "persistentVolumeClaim" "storage.existingClaim"
  "volumes" "extraVolumes"
  "volumeMounts" "extraVolumeMounts"
  "extraInitContainers" "initContainers"
  "sidecars" "extraContainers"
  "extraDeploy" "extraObjects"
  "extraManifests" "extraObjects"
  "serviceMonitor" "metrics.serviceMonitor"
  "podMonitor" "metrics.podMonitor"
  "prometheusRule" "metrics.prometheusRule"
  "existingSecret" "credentials.UPSTREAM.existingSecret, redis.existingSecret, tls.existingSecret or signingKey.existingSecret"
  "secrets" "storage.bucket.existingSecret, credentials and tls.existingSecret"
  "tlsSecretName" "tls.existingSecret"
  "s3" "storage.layout: bucket, config.blobs: {store: s3, s3: {…}} and storage.bucket.existingSecret"
  "podSecurity" "podSecurityContext"
  "containerSecurityContext" "securityContext"
  "networkPolicies" "networkPolicy"
  "hpa" "autoscaling"
  "pdb" "podDisruptionBudget"
  "strategy" "updateStrategy"
  "deploymentStrategy" "updateStrategy"
  "gateway" "httpRoute"
-}}
{{- range $name, $ours := $here -}}
{{- if hasKey $.Values $name -}}
{{- $messages = append $messages (printf "%s is called %s in this chart." $name $ours) -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.metrics "enabled" -}}
{{- $messages = append $messages "metrics.enabled: metrics are always served. Set metrics.serviceMonitor.enabled or metrics.podMonitor.enabled to have them scraped." -}}
{{- end -}}
{{- if and (hasKey .Values "enabled") (not .Values.enabled) -}}
{{- $messages = append $messages "enabled: false does nothing by itself. A chart that has this one as a dependency names it there, as in condition: lighterage.enabled." -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
